package filter

import (
	"strings"
	"testing"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// Texts that people write, in NFC: nothing of them may change.
func TestLivingScripts(t *testing.T) {
	for name, text := range map[string]string{
		"hangul": "안녕하세요, 오늘 날씨가 어때요? 값싼 닭볶음탕", "old hangul": "나랏말ᄊᆞ미 ᄒᆞᆫ글", "hangul marks": "한국어의 《책》 ㅋㅋㅋ ㅠㅠ",
		"thai": "สวัสดีครับ น้ำกำลังท่วมที่นี่ ผู้ใหญ่", "lao": "ສະບາຍດີ ຂ້ອຍຢູ່ນີ້", "khmer": "ខ្ញុំស្រឡាញ់ភាសាខ្មែរ", "burmese": "မြန်မာဘာသာစကား ကျွန်ုပ်",
		"hindi": "मैं हिन्दी में लिखता हूँ, कृपया उत्तर दें। ज़रूर", "marathi": "र्\u200dय स्त्री", "tamil": "வணக்கம், ஸ்ரீ கொக்கோ", "telugu": "తెలుగు క్ష్మి", "kannada": "ಕನ್ನಡ ರ\u200d್ಯ",
		"malayalam": "മലയാളം ന്\u200d അവന്\u200d", "sinhala": "ශ්\u200dරී ලංකාව", "bengali": "বাংলা র\u200d্যাব", "gujarati": "ગુજરાતી ક્ષ", "punjabi": "ਪੰਜਾਬੀ ਸ਼੍ਰੀ", "tibetan": "བོད་སྐད་ རྒྱུད་",
		"hebrew": "שָׁלוֹם עוֹלָם", "arabic": "مَرْحَبًا بِالعَالَمِ ٱللَّهِ", "persian": "می\u200cخواهم کتاب\u200cها را", "urdu": "اُردُو میں لکھیں۔", "mixed": "Say שלום and مرحبا, 123!",
		"japanese": "日本語の文章です。がぎぐげご ヴァイオリン ｶﾅ", "chinese": "中文，“引号”……——《书名》￥１２３", "rare han": "𠮷野家 𪚥",
		"vietnamese": "Tiếng Việt rất đẹp, nghĩa là gì?", "polytonic": "ᾧ Μῆνιν ἄειδε θεὰ", "amharic": "ሰላም ልዑል", "georgian": "გამარჯობა", "mongolian": "ᠮᠣᠩᠭᠣᠯ",
		"math": "∀x∈ℝ: ⌈x⌉ ≤ ∑ᵢ aᵢ² ≠ √2 ½ 𝔸", "currency": "€5 ¥10 ₿1 ₹9", "arrows, boxes": "→ ⇒ ─┬┐ ▓ ✓ ✗ •", "code": "if (a && b) { s += `${x}\\t`; } // <b>#!$%^~|</b>",
		"families": "👨\u200d👩\u200d👧\u200d👦 👩\u200d👩\u200d👦 👨🏿\u200d🦱 🧑🏽\u200d🤝\u200d🧑🏻 👩🏼\u200d❤️\u200d💋\u200d👨🏾 🏃🏽\u200d♀️\u200d➡️ 🧑\u200d🧑\u200d🧒", "flags": "🇨🇳🇺🇳🇪🇺 🏳️\u200d🌈 🏳️\u200d⚧️ 🏴\u200d☠️", "emoji": "❤️\u200d🔥 ☺️ ☎︎ 0️⃣*️⃣ 🫨 ©️ ㊗️ 〰️ 🅰️",
	} {
		if text = norm.NFC.String(text); Text(text, Normal) != text {
			t.Errorf("%s: %+q became %+q", name, text, Text(text, Normal))
		}
	}
}

// Whatever is drawn stays where it stands alone, whichever category it has.
func TestDrawnCharactersStay(t *testing.T) {
	for name, table := range unicode.Categories {
		if name[0] == 'C' || name[0] == 'Z' && name != "Zs" {
			continue
		}
		seen := 0
		for r := rune(0x20); r <= unicode.MaxRune; r++ {
			if alone := string(r); unicode.Is(table, r) && norm.NFC.IsNormalString(alone) && !invisible(r) && !unicode.Is(unicode.Variation_Selector, r) {
				if seen++; seen > 3000 {
					break
				}
				if text := "a " + alone + " b"; Text(text, Normal) != norm.NFC.String(text) {
					t.Errorf("%s: %U does not stay", name, r)
				}
			}
		}
	}
}

// What normalization makes long, or takes long for, is bounded.
func TestNormalizationBombs(t *testing.T) {
	for _, unit := range []string{"\ufdfa", "\u1d160", "\u0390", "\ufb2c", "\u1f82", "\U0001d15e", "a" + strings.Repeat("\u0315\u0300\u05ae", 30), "\u0f77", "\uac00\u11a7"} {
		text := strings.Repeat(unit, 2000)
		for _, mode := range []Mode{Normal, Strict} {
			hold(t, text, mode)
		}
	}
}
