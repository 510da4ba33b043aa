"""Code pages from before UTF-8, and how plausible bytes are as words in each of them."""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple


class CodePage(NamedTuple):
    """codec: Python's name of it. title: what people call it. weigh: (word, codec) -> plausibility of each letter."""

    codec: str
    title: str
    weigh: Callable[[str, str], list[float]]


def plausibility(words: Sequence[bytes], page: CodePage) -> float:
    """How much the words look like ones of the code page's languages: 0 to 1, the mean over their non-ASCII letters."""
    weights = [weight for word in words for weight in page.weigh(word.decode(page.codec), page.codec)]
    return sum(weights) / len(weights) if weights else 0.0


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
_CASES = re.compile(r"[^\W\d_]+")


def _japanese(word: str, codec: str) -> list[float]:
    def weigh(letter: str, lead: int) -> float:
        if "\u3040" <= letter <= "\u30ff":
            return 1.0
        return (0.6 if 0x88 <= lead <= 0x97 else 0.15) if _is_han(letter) else 0.1

    return _double(word, codec, lambda letter, lead, _: weigh(letter, lead))


def _simplified(word: str, codec: str) -> list[float]:
    def weigh(letter: str, lead: int, trail: int) -> float:
        return (0.6 if lead <= 0xD7 else 0.2) if _is_han(letter) and lead >= 0xB0 and trail >= 0xA1 else 0.05

    return _double(word, codec, weigh)


def _traditional(word: str, codec: str) -> list[float]:
    def weigh(letter: str, lead: int, trail: int) -> float:
        return (0.6 if lead <= 0xC6 else 0.15) if _is_han(letter) else 0.05

    return _double(word, codec, weigh)


def _korean(word: str, codec: str) -> list[float]:
    def weigh(letter: str, lead: int, trail: int) -> float:
        hangul = "\uac00" <= letter <= "\ud7a3" and 0xB0 <= lead <= 0xC8 and trail >= 0xA1
        return (1.0 if letter in _HANGUL else 0.45) if hangul else 0.1

    return _double(word, codec, weigh, common=frozenset())


def _double(
    word: str, codec: str, weigh: Callable[[str, int, int], float], common: frozenset[str] = _HAN
) -> list[float]:
    """Weights of letters that are two bytes, the first of which tells how rare they are; words mix them little."""
    weights = []
    for letter in word:
        code = letter.encode(codec)
        if letter in common and len(code) == 2:
            weights.append(1.0)
        elif not letter.isascii():
            weights.append(weigh(letter, code[0], code[-1]) if len(code) == 2 else 0.1)
    mixed = any(letter.isascii() and letter.isalpha() for letter in word.rsplit(".", 1)[0])
    return [weight * (0.7 if mixed else 1.0) for weight in weights]


def _is_han(letter: str) -> bool:
    return "\u4e00" <= letter <= "\u9fff"


def _alphabet(common: str, less: str, rare: str, latin: bool = False) -> Callable[[str, str], list[float]]:
    """Weights of letters of one alphabet: frequent ones count most, other signs and words of odd case little.

    latin: words have ASCII letters as well, which those of other alphabets don't.
    """
    weight_of = {letter: weight for letters, weight in ((common, 1.0), (less, 0.95), (rare, 0.7)) for letter in letters}

    def weigh(word: str, _codec: str) -> list[float]:
        weights = []
        for part in _CASES.findall(word):
            own = [letter for letter in part if not letter.isascii()]
            factor = 1.0 if part.islower() or part.istitle() else 0.85 if part.isupper() else 0.3
            foreign = len(own) > 0.8 * len(part) and len(part) > 2 if latin else len(own) < len(part)
            factor *= 0.3 if foreign else 1.0
            weights += [factor * weight_of.get(letter.lower(), 0.0) for letter in own]
        signs = sum(not letter.isascii() and not _CASES.match(letter) for letter in word)
        return weights + [0.0] * signs

    return weigh


_cyrillic = _alphabet("оеаинтсрвлкмдпя", "", "бгёжзйуфхцчшщъыьэюіїєґў")
_greek = _alphabet("αοιετσνηυρπκςάέήίόύώ", "", "βγδζθλμξφχψωϊϋΐΰ")
_latin = _alphabet("äöüßéèêëàâáãåæçñóòôõøúùûíìîï", "ýœąćęłńśźżčďěňřšťůžőűășțşğı", "ÿþðĺľŕđ", latin=True)

# The most widely used of equally plausible ones first. Windows zips in the "OEM" page, other programs in the other one.
CODE_PAGES = (
    CodePage("cp932", "Shift-JIS", _japanese),
    CodePage("gbk", "GBK", _simplified),
    CodePage("big5", "Big5", _traditional),
    CodePage("cp949", "EUC-KR", _korean),
    CodePage("cp866", "code page 866", _cyrillic),
    CodePage("cp1251", "code page 1251", _cyrillic),
    CodePage("cp437", "code page 437", _latin),
    CodePage("cp850", "code page 850", _latin),
    CodePage("cp1252", "code page 1252", _latin),
    CodePage("cp852", "code page 852", _latin),
    CodePage("cp1250", "code page 1250", _latin),
    CodePage("cp737", "code page 737", _greek),
    CodePage("cp1253", "code page 1253", _greek),
)
