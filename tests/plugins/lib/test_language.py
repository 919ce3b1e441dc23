"""Languages by script and by common words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framework_plugins.lib.language import COMMON_WORD_SETS, SCRIPTS, languages
from tests.plugins.audit.made import chatterbot

SENTENCES = {
    "English": "The dog that was sleeping in front of the house is not what you are looking for",
    "German": "Der Hund, der vor dem Haus schläft, ist nicht das, was wir für die Kinder gesucht haben",
    "French": "Le chien qui dort devant la maison est très vieux, et vous ne pouvez pas le prendre avec vous",
    "Spanish": "El perro que duerme delante de la casa es muy viejo, pero no se lo digas a los niños",
    "Portuguese": "O cachorro que dorme em frente da casa é muito velho, mas não se preocupe com isso",
    "Italian": "Il cane che dorme davanti alla casa è molto vecchio, ma non si deve dire questo ai bambini",
    "Dutch": "De hond die voor het huis slaapt is heel oud, maar dat moet je niet aan de kinderen zeggen",
    "Swedish": "Hunden som sover framför huset är mycket gammal, men det är inte något som vi kan ändra på",
    "Polish": "Pies, który śpi przed domem, jest już bardzo stary, ale nie jest to dla nas problem",
    "Turkish": "Evin önünde uyuyan köpek çok yaşlı ama bu bizim için bir sorun değil, ben de öyle ve daha iyi",
    "Indonesian": "Anjing yang tidur di depan rumah itu sudah tua, tetapi ini tidak akan menjadi masalah",
    "Vietnamese": "Con chó ngủ trước nhà đã rất già, nhưng đó không phải là vấn đề của chúng tôi và các bạn",
    "Czech": "Pes, který spí před domem, je už velmi starý, ale není to pro nás nic, co by se nedalo změnit",
    "Romanian": "Câinele care doarme în fața casei este foarte bătrân, dar nu este o problemă pentru noi și mai sunt",
    "Japanese": "家の前で寝ている犬はとても年を取っています",
    "Korean": "집 앞에서 자고 있는 개는 아주 늙었습니다",
    "Chinese": "在房子前面睡觉的那条狗已经很老了",
    "Greek": "Ο σκύλος που κοιμάται μπροστά στο σπίτι είναι πολύ γέρος",
    "Hebrew": "הכלב שישן מול הבית זקן מאוד אבל זה לא משנה",
    "Arabic or Persian": "الكلب الذي ينام أمام المنزل كبير في السن",
    "Hindi": "घर के सामने सोने वाला कुत्ता बहुत बूढ़ा है",
    "Bengali": "বাড়ির সামনে ঘুমন্ত কুকুরটি অনেক বুড়ো",
    "Tamil": "வீட்டின் முன் தூங்கும் நாய் மிகவும் வயதானது",
    "Thai": "สุนัขที่นอนอยู่หน้าบ้านแก่มากแล้ว",
    "Georgian": "ძაღლი, რომელსაც სახლის წინ სძინავს, ძალიან ბებერია",
    "Armenian": "Տան առջև քնած շունը շատ ծեր է",
    "Russian or another one in Cyrillic": "Собака, которая спит перед домом, очень старая",
}


@pytest.mark.parametrize("name", SENTENCES)
def test_a_sentence_is_reported(name: str) -> None:
    assert languages(SENTENCES[name]) == name


def test_every_language_that_is_recognised_is_tested() -> None:
    assert set(SENTENCES) == {*COMMON_WORD_SETS, *SCRIPTS}


@pytest.mark.parametrize(
    "text", ["", "No.", "Da.", "42", "https://host/the/and/of/to/is", "```the and of to is that it you for with```"]
)
def test_of_a_short_text_or_of_code_nothing_is_said(text: str) -> None:
    assert languages(text) == ""


def test_an_english_corpus_is_english() -> None:
    found = [languages(f"{asked}\n{answered}") for asked, answered in chatterbot()]
    told = [name for name in found if name]
    assert len(told) > len(found) / 3
    assert sum(name != "English" for name in told) <= len(told) / 200


@given(st.text(alphabet=st.characters(codec="utf-8")))
def test_any_text_has_an_answer(text: str) -> None:
    assert languages(text) in {"", *SENTENCES}
