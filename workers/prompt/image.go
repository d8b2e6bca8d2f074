package prompt

import (
	"encoding/base64"
	"image"
	_ "image/gif" // known to image.DecodeConfig
	_ "image/jpeg"
	_ "image/png"
	"io"
	"math"
	"strings"

	_ "golang.org/x/image/webp"

	"moltbot/workers/model"
)

// Vendor names whose rule counts images.
type Vendor string

// The vendors we know.
const (
	OpenAI    Vendor = "openai"
	Anthropic Vendor = "anthropic"
)

// VendorFor is the rule for a model by its name. Vendors we do not know get
// OpenAI's: the budget is a measure, not a bill.
func VendorFor(modelName string) Vendor {
	if strings.Contains(strings.ToLower(modelName), "claude") {
		return Anthropic
	}
	return OpenAI
}

// What the rules are made of, in tokens and pixels.
const (
	lowTokens  = 85  // OpenAI: a look at the whole
	tileTokens = 170 // and for each tile that is looked at closely
	tileSide   = 512
	squareSide = 2048 // an image is made to fit into it
	shortSide  = 768  // and then made smaller until its shorter side is this

	pixelsPerToken  = 750 // Anthropic
	longestSide     = 1568
	mostImageTokens = 1600

	// unknownSide is what an image is taken for whose size cannot be seen: one
	// behind a URL, which is not fetched, or one with a broken header.
	unknownSide = 1024
	// mostHeader is how much of an image is read to find its size. Photographs
	// carry previews and profiles in front of it.
	mostHeader = 256 << 10
)

// ImageTokens is about what an image costs in the prompt of a model: a URL, or a
// data URL whose header tells the size; detail is low, high, auto or empty, which
// are counted as high.
func ImageTokens(modelName, address, detail string) int {
	vendor := VendorFor(modelName)
	if vendor == OpenAI && detail == "low" {
		return lowTokens
	}
	width, height := sizeOf(address)
	if vendor == Anthropic {
		return anthropicTokens(width, height)
	}
	return openAITokens(width, height)
}

// ImagesOf is what the images of the last message of a user cost. They are those
// of its turn.
func ImagesOf(modelName string, messages []model.Message) int {
	sum := 0
	for i := len(messages) - 1; i >= 0; i-- {
		if messages[i].Role != model.RoleUser {
			continue
		}
		for _, p := range messages[i].Parts {
			if p.Image != "" {
				sum += ImageTokens(modelName, p.Image, p.Detail)
			}
		}
		break
	}
	return sum
}

func openAITokens(width, height float64) int {
	width, height = fit(width, height, squareSide)
	if short := min(width, height); short > shortSide {
		width, height = width*shortSide/short, height*shortSide/short
	}
	return lowTokens + tileTokens*tiles(width)*tiles(height)
}

// tiles is how many a side takes. What scaling leaves beside the point is none.
func tiles(side float64) int { return max(1, int(math.Ceil(math.Round(side)/tileSide))) }

func anthropicTokens(width, height float64) int {
	width, height = fit(width, height, longestSide)
	return max(1, min(mostImageTokens, int(math.Ceil(width*height/pixelsPerToken))))
}

// fit makes an image smaller until no side is longer than side.
func fit(width, height, side float64) (float64, float64) {
	if long := max(width, height); long > side {
		return width * side / long, height * side / long
	}
	return width, height
}

// sizeOf reads the header of an image in a data URL. It decodes no pixels.
func sizeOf(address string) (width, height float64) {
	meta, data, ok := strings.Cut(address, ",")
	if ok && strings.HasPrefix(meta, "data:image/") && strings.HasSuffix(meta, ";base64") {
		encoded := strings.NewReader(strings.TrimRight(data[:min(len(data), base64.StdEncoding.EncodedLen(mostHeader))], "="))
		c, _, err := image.DecodeConfig(io.LimitReader(base64.NewDecoder(base64.RawStdEncoding, encoded), mostHeader))
		if err == nil && c.Width > 0 && c.Height > 0 {
			return float64(c.Width), float64(c.Height)
		}
	}
	return unknownSide, unknownSide
}
