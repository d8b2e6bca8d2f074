package platform

import (
	"bytes"
	"image"
	"image/color"
	"image/png"
)

// PNG is a small image.
func PNG() []byte {
	m := image.NewRGBA(image.Rect(0, 0, 16, 16))
	for i := range 16 {
		m.Set(i, i, color.RGBA{R: 255, A: 255})
	}
	var b bytes.Buffer
	_ = png.Encode(&b, m) // cannot fail: it goes to memory
	return b.Bytes()
}
