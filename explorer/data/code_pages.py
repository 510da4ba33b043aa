"""Code pages from before UTF-8, and how likely bytes are as words of the languages that are written in them.

A language is known by its letters, from the most frequent to the rarest: the one of rank r of n has a share of about
log((n + 1) / r) / n of a text (S. M. Gusein-Zade, 1988). Chinese, Japanese and Korean are known by their common signs.
"""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import NamedTuple

Signs = Mapping[str, int]  # how often each occurs
_ODD, _NO_LETTER = 2e-4, 2e-5  # shares of a letter of another alphabet, and of what is no letter at all
_LEAST = math.log(1 / 180)  # of a byte: words of no language are less likely
_BETWEEN = re.compile(r"[\x00-@\[-`{-\x7f]+")  # words of ASCII: signs that are no letters
_CASES = re.compile(r"[^\W\d_]+")
_ENGLISH = "etaoinsrhldcumfpgwybvkxjqz"


class Language(NamedTuple):
    """rate: (signs, codec) -> natural logarithm of their likelihood. own_ascii: whether plain words may be its own.

    common: how often zips come from its countries, against the most frequent. lengths: shares of words of one sign, of
    two, three and more.
    """

    rate: Callable[[Signs, str], float]
    own_ascii: bool
    common: float
    lengths: tuple[float, float, float, float]


class CodePage(NamedTuple):
    """codec: Python's name of it. dos: whether Windows' own zip and 7-Zip write it, or other programs; None: all."""

    codec: str
    dos: bool | None
    languages: tuple[Language, ...]

    @property
    def title(self) -> str:
        """What people call it."""
        return _TITLES.get(self.codec) or f"code page {self.codec.removeprefix('cp')}"


def likelihood(words: Sequence[bytes], plain: Iterable[str], page: CodePage) -> float | None:
    """Natural logarithm of the words' likelihood in the code page's best language.

    plain: words of ASCII from beside them, which tell of the language. None where the words can't be read in the code
    page, or look like none of its languages.
    """
    try:
        texts = [word.decode(page.codec) for word in words]
    except UnicodeDecodeError:
        return None
    parts = [part for text in texts for part in _BETWEEN.split(text)]
    foreign = [part for part in parts if not part.isascii()]
    size = sum(map(len, words)) - sum(map(len, texts)) + sum(map(len, foreign))  # bytes
    foreign = [unicodedata.normalize("NFC", part) for part in foreign]
    signs, lengths = Counter("".join(foreign).lower()), Counter(min(len(part), 4) for part in foreign)
    beside = "".join((*plain, *(part for part in parts if part.isascii()))).lower()
    ascii_letters = Counter(filter(str.isalpha, beside))
    english = _rate_letters(_ENGLISH, ascii_letters)
    found = []
    for language in page.languages:
        value = language.rate(signs, page.codec)
        if value > _LEAST * size:
            others = language.rate(ascii_letters, page.codec) if language.own_ascii else english
            long = sum(count * math.log(language.lengths[length - 1]) for length, count in lengths.items())
            found.append(value + others + long + math.log(language.common))
    return max(found) + _rate_cases(texts) if found else None


def _rate_cases(texts: Iterable[str]) -> float:
    """How likely words in small letters, capitals and a mixture are."""
    total = 0.0
    for word in (word for text in texts for word in _CASES.findall(text) if not word.isascii()):
        if word == word.lower():
            total += math.log(0.7)
        elif word[1:] == word[1:].lower():
            total += math.log(0.25)
        else:
            total += math.log(0.04) if word.isupper() else math.log(0.01) - 2 * sum(map(str.isupper, word[1:]))
    return total


def _rate_letters(letters: str, signs: Signs) -> float:
    known = _shares(letters)
    return sum(
        count * math.log(known.get(sign) or (_ODD if sign.isalpha() else _NO_LETTER)) for sign, count in signs.items()
    )


@cache
def _shares(letters: str) -> dict[str, float]:
    shares = [math.log((len(letters) + 1) / rank) for rank in range(1, len(letters) + 1)]
    return {letter: share / sum(shares) for letter, share in zip(letters, shares, strict=True)}


def _alphabet(letters: str, common: float = 1.0) -> Language:
    """A language of these letters, the most frequent first."""

    def rate(signs: Signs, _codec: str) -> float:
        return _rate_letters(letters, signs)

    return Language(rate, "a" in letters, common, (0.003, 0.02, 0.08, 0.15))


def _signs(share: Callable[[str, bytes], float]) -> Language:
    """A language of signs that are two bytes each; share: (sign, its bytes) -> share of a text."""

    def rate(signs: Signs, codec: str) -> float:
        total = 0.0
        for sign, count in signs.items():
            code = sign.encode(codec, "ignore")
            total += count * math.log(1 / 300 if sign.isascii() else share(sign, code) if len(code) == 2 else 1e-5)
        return total

    return Language(rate, False, 1.0, (0.2, 0.4, 0.2, 0.1))


# Frequent letters of Chinese in both spellings and of Japanese, and those of what people photograph.
_HAN = frozenset(
    "的一是在不了有和人这中大为上个国我以要他时来用们生到作地于出就分对成会可主发年动同工也能下过子说产种面而方后多定行学法"
    "所民得经十三之进着等部度家电力里如水化高自二理起小物现实加量都两体制机当使点从业本去把性好应开它合还因由其些然前外天政"
    "四日那社义事平形相全表间样与关各重新线内数正心反你明看原又么利比或但质气第向道命此变条只没结解问意建月公无系军很情者最"
    "立代想已通并提直题程展五果料象员革位入常文总次品式活设及管特件长求老头基资边流路级少图山统接知较将组见计别她手角期根论"
    "运农指几九区强放决西被干做必战先回则任取据处队南给色光门即保治北造百规热领七海口东导器压世金增争济油思术极交受联什认六"
    "共权收证改清己美再采转更单风切打白教速花带安场身车例真务具万每目至达走积示议声报完类八离华名确才科张信马节话米整空元今"
    "集温传土许步群广石记需段研界林观织装影算低持音书布复容儿际商非验连断深难近千周素技备半办青省列习支史感团往市克何除消构"
    "称太准精值号率族维选标写存候毛亲快效院查江型眼王格养易置层片始专状育京识适属圆包火住调满县局照参红细引听铁价严测试训练"
    "猫狗鸟鱼牛羊猪鸡鸭兔鼠虎狮熊猴蛇龙虫蝶蜂蚁草树叶苹梨桃香蕉橙葡萄瓜豆菜饭肉蛋奶茶酒船飞箭汽轮桌椅床灯窗杯碗刀笔纸鞋帽衣"
    "裤伞球犬蜜玫瑰菊荷竹松柏樱番茄黄胡萝卜蘑菇狼鹿鹰鹅鸽龟蛙鲸鲨豚蟹虾狐狸蜘蛛蜻蜓蚊蝇正常肺炎良恶肿瘤病健康好坏男女老幼春夏秋冬"
    "這為個國時來們於對會發動過說產種後學經進著電裡現實兩體機當點從業應開還義樣與關線內數麼質氣變條沒結問無軍並題員總設長頭"
    "資邊級圖統較將組見計別論運農幾區強決幹戰則據處隊給門規熱領東導壓爭濟術極聯認權證採轉單風帶場車務萬達積議聲報類離華確張"
    "馬節話況溫傳許廣記觀織裝眾書復兒際驗連斷難礦備辦習響約團歷構稱準號維選標寫親層專狀廠識適屬圓調滿縣參紅細聽鐵價嚴測試訓"
    "練貓鳥魚豬雞鴨獅龍蟲蟻樹葉蘋飯麵飛輪燈筆紙褲傘櫻黃蘿蔔鷹鵝鴿龜鯨鯊蝦腫癌願貝猿雲雨雪木川空畫像写真検証駅橋転供飲野氷鉄砂"
)
_HANGUL = frozenset(
    "가각간갈감강개거건검게견결경계고골곰공과관광교구국군권귀그극근글금급기길김까끼꽃꿀나난날남내너네녀년노농누눈느늑능니다단달담당"
    "대더도독돌동돼두드들등디딸라람랑래러레려련령로록루류르름리린림마만말망매머메면명모목무문물미민바박반발방배뱀버번벌별병보복본부"
    "북분불비빵사산살상새색생서석선설성세소속손송수숭순술스시식신실아악안알암애야약양어억얼여역연염영예오옥온와왕외요용우운울원월위"
    "유육은을음의이인일입자작장재저적전절정제조족종주중쥐지직진집차참창채책천철청체초총추축출치친카컵코크타태터토통트티파판포표풀품"
    "프피하학한함항해행향험형호홍화환회후훈흑희련검증"
)


def _japanese(sign: str, code: bytes) -> float:
    if "\u3040" <= sign <= "\u30ff":
        return 1 / 200
    if sign in _HAN:
        return 1 / 2500
    # Of the two bytes the first tells how rare a sign is, here in Shift-JIS and in EUC-JP.
    return (1 / 12000 if code[0] <= 0x97 or 0xB0 <= code[0] <= 0xCF else 1e-5) if _is_han(sign) else 5e-5


def _simplified(sign: str, code: bytes) -> float:
    if code[0] < 0xB0 or code[1] < 0xA1:  # what GBK added to GB 2312
        return 1e-6
    return 1 / 2000 if sign in _HAN else 1 / 11000 if code[0] <= 0xD7 else 1.7e-5


def _traditional(sign: str, code: bytes) -> float:
    if sign in _HAN:
        return 1 / 2000
    return (1 / 12000 if code[0] <= 0xC6 else 1.7e-5) if _is_han(sign) else 1e-5


def _korean(sign: str, code: bytes) -> float:
    if sign in _HANGUL:
        return 1 / 500
    return 1 / 15000 if "\uac00" <= sign <= "\ud7a3" and 0xB0 <= code[0] <= 0xC8 and code[1] >= 0xA1 else 1e-5


def _is_han(sign: str) -> bool:
    return "\u4e00" <= sign <= "\u9fff"


_russian = _alphabet("оеаинтрслвкпдмуязьыйбчгжфцхюшщэёъ")
_ukrainian = _alphabet("оаноиетврікслдпумязбьйгчжцхєфшюїщґ")
_bulgarian = _alphabet("аениотрсвдкпзлмъябучгжйфцшщхю")
_serbian = _alphabet("аеионртскупдвмјзлбгшчњцљжћхфђџ", 0.3)
_belarusian = _alphabet("анркіыслетдвяпмоуцзьэгбўчйшхфжюё", 0.2)
_greek = _alphabet("αοετινσρμηπκυςλίγδήέάόχωθύφβώξζψϊϋΐΰ")
_hebrew = _alphabet("יוהתלמראנבשקפדסגטעחםןכצזךץף")
_arabic = _alphabet("اليمروتةندفبعسحقكجصأطهخشإذغضىثئظءؤآ")
_persian = _alphabet("اینردهوتمبسکشلپزفگجخعقصحچطآغذظضئثژأ\u200c", 0.5)
_thai = _alphabet("ารอกนมเ่้งดลัีติยบสวแไ์คทขหปพจูะืชโซำุใฟถณ็ผภษธฐึฮญศฉฤๆฏ๊ฬฑฎ")
_turkish = _alphabet("aielnrıstkmduoybgçzşücphğvöfwjqâ")
_vietnamese = _alphabet("nhtcigauđokmprlbsdyôưáeàvểếộạêệảịợốậóầớxấùặụỗíọủềìãờqữựứýâúơởỉỏfổắửòừồăéẫwỡằẩjẽõũĩẻèẵỳẹỷ")
_lithuanian = _alphabet("aisteornkulmpdvgjybšėųfžįcąčhzūęxwq", 0.3)
_latvian = _alphabet("aisterunoklmāpdvēzjīgbšcfļūņhžķxģwyč", 0.3)
_estonian = _alphabet("aietslunkrodmvgpäbjhõüfcöšxywž", 0.15)
_polish = _alphabet("aieonrzwstkypcudlmjgbłżhęąśóćfńvźxq")
_czech = _alphabet("oenatsprviulkídzámbcyhjřčéýžěšgfůxwúóňťqď")
_slovak = _alphabet("aoenirtsvpkludmzábcyhjčíýéťúžšľfgxóňôwäĺďŕ", 0.5)
_hungarian = _alphabet("eatlsnkroziámégvhbydpjcufíóöőüúűxwq")
_romanian = _alphabet("eiartnuclsodpămfbgvţzşîhxâkjwyq", 0.5)
_croatian = _alphabet("aieonrtsjkpulvdmzbgcčšhžćfđywx", 0.5)
_german = _alphabet("enirtaslduhogcmbkfpzwvüyäöxjßqé")
_french = _alphabet("eainrstoludcpmégfhbvqxykèàjzêwôîçâïùëûüöæ")
_spanish = _alphabet("eaonrisdlctupmbfvgóháqyxjízúkéñwü")
_portuguese = _alphabet("aeorisdntmclpuvfãghbçáqxízéójkúõyêwâàôü")
_italian = _alphabet("ieaontrlscdupmgvbzfhkyèwqàxjòùéì")
_swedish = _alphabet("aentrislodkgmufpväbchöåyjxwzqé")
_danish = _alphabet("erntiasldkogmfuvpbhyæjøcåxwzéq", 0.5)
_finnish = _alphabet("itaensolkuärmvyphdjöbgcfxwzåšqž", 0.5)
_icelandic = _alphabet("aniretslkugmodbðhíápfvyjócúýwæöþzéxq", 0.1)

_western = (_german, _french, _spanish, _portuguese, _italian, _swedish, _danish, _finnish, _icelandic, _estonian)
_central = (_polish, _czech, _slovak, _hungarian, _romanian, _croatian)
_baltic = (_lithuanian, _latvian, _estonian)
_cyrillic = (_russian, _ukrainian, _bulgarian, _serbian, _belarusian)

_TITLES = {
    "cp932": "Shift-JIS", "euc_jp": "EUC-JP", "gbk": "GBK", "cp950": "Big5", "cp949": "EUC-KR", "koi8_u": "KOI8",
}  # fmt: skip
CODE_PAGES = (
    CodePage("cp932", None, (_signs(_japanese),)),
    CodePage("euc_jp", False, (_signs(_japanese),)),
    CodePage("gbk", None, (_signs(_simplified),)),
    CodePage("cp950", None, (_signs(_traditional),)),
    CodePage("cp949", None, (_signs(_korean),)),
    CodePage("cp866", True, _cyrillic),
    CodePage("cp855", True, (_serbian,)),
    CodePage("cp1251", False, _cyrillic),
    CodePage("koi8_u", False, (_russian, _ukrainian)),
    CodePage("cp437", True, _western),
    CodePage("cp850", True, _western),
    CodePage("cp1252", False, _western),
    CodePage("cp852", True, _central),
    CodePage("cp1250", False, _central),
    CodePage("cp775", True, _baltic),
    CodePage("cp1257", False, _baltic),
    CodePage("cp857", True, (_turkish,)),
    CodePage("cp1254", False, (_turkish,)),
    CodePage("cp737", True, (_greek,)),
    CodePage("cp1253", False, (_greek,)),
    CodePage("cp862", True, (_hebrew,)),
    CodePage("cp1255", False, (_hebrew,)),
    CodePage("cp720", True, (_arabic,)),
    CodePage("cp1256", False, (_arabic, _persian)),
    CodePage("cp874", None, (_thai,)),
    CodePage("cp1258", None, (_vietnamese,)),
)
