// Package frame reads and writes the Protocol Buffers that Feishu's long connections
// carry. It does not know what they mean, and neither sends nor receives them.
package frame

import (
	"errors"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"
)

// Methods of a frame.
const (
	Control = 0 // pings and pongs
	Data    = 1 // events and their acknowledgements
)

// Frame is one message of a connection, in either direction.
type Frame struct {
	SeqID, LogID    uint64
	Service, Method int32
	Headers         []Header
	PayloadEncoding string
	PayloadType     string
	Payload         []byte
	LogIDNew        string
}

// Header is one of the headers of a frame.
type Header struct{ Key, Value string }

// Get gives the first header of that key; empty: there is none.
func (f *Frame) Get(key string) string {
	for i := range f.Headers {
		if f.Headers[i].Key == key {
			return f.Headers[i].Value
		}
	}
	return ""
}

// Int gives a header that is a number, and 0 for one that is none.
func (f *Frame) Int(key string) int {
	n, err := strconv.Atoi(f.Get(key))
	if err != nil {
		return 0
	}
	return n
}

// Numbers of the fields.
const (
	fieldSeqID = iota + 1
	fieldLogID
	fieldService
	fieldMethod
	fieldHeaders
	fieldEncoding
	fieldType
	fieldPayload
	fieldLogIDNew

	required = 1<<fieldSeqID | 1<<fieldLogID | 1<<fieldService | 1<<fieldMethod

	fieldKey   = 1 // of a header
	fieldValue = 2
)

// maxHeaders are more than ten times those that are known.
const maxHeaders = 128

var errFrame = errors.New("feishu: this is no frame")

// Decode reads a frame. Its payload lies in b.
func Decode(b []byte) (*Frame, error) {
	f, seen := new(Frame), 0
	err := fields(b, func(n protowire.Number, v uint64, text []byte) error {
		if n <= fieldLogIDNew {
			seen |= 1 << n
		}
		return f.set(n, v, text)
	})
	if err != nil || seen&required != required {
		return nil, errFrame
	}
	return f, nil
}

func (f *Frame) set(n protowire.Number, v uint64, text []byte) error {
	if isText := n >= fieldHeaders && n <= fieldLogIDNew; n <= fieldLogIDNew && isText != (text != nil) {
		return errFrame // a field of another type
	}
	switch n {
	case fieldSeqID:
		f.SeqID = v
	case fieldLogID:
		f.LogID = v
	case fieldService:
		f.Service = int32(v) // cut off as Protocol Buffers do
	case fieldMethod:
		f.Method = int32(v) // cut off as Protocol Buffers do
	case fieldHeaders:
		return f.header(text)
	case fieldEncoding:
		f.PayloadEncoding = string(text)
	case fieldType:
		f.PayloadType = string(text)
	case fieldPayload:
		f.Payload = text
	case fieldLogIDNew:
		f.LogIDNew = string(text)
	}
	return nil
}

func (f *Frame) header(b []byte) error {
	var h Header
	seen := 0
	err := fields(b, func(n protowire.Number, _ uint64, text []byte) error {
		if n > fieldValue {
			return nil
		}
		if text == nil {
			return errFrame
		}
		seen |= 1 << n
		if n == fieldKey {
			h.Key = string(text)
		} else {
			h.Value = string(text)
		}
		return nil
	})
	if err != nil || seen != 1<<fieldKey|1<<fieldValue || len(f.Headers) == maxHeaders {
		return errFrame
	}
	f.Headers = append(f.Headers, h)
	return nil
}

// fields gives each field of a message: text is nil for a number, and never for
// bytes. Types that no field of ours has are passed over.
func fields(b []byte, each func(n protowire.Number, v uint64, text []byte) error) error {
	for len(b) > 0 {
		n, kind, size := protowire.ConsumeTag(b)
		if size < 0 {
			return errFrame
		}
		b = b[size:]
		var v uint64
		var text []byte
		switch kind {
		case protowire.VarintType:
			v, size = protowire.ConsumeVarint(b)
		case protowire.BytesType:
			text, size = protowire.ConsumeBytes(b)
			text = text[:len(text):len(text)]
		default:
			if size = protowire.ConsumeFieldValue(n, kind, b); n <= fieldLogIDNew {
				return errFrame
			}
		}
		if size < 0 {
			return errFrame
		}
		b = b[size:]
		if err := each(n, v, text); err != nil {
			return err
		}
	}
	return nil
}

// Encode writes a frame, without the optional fields that are empty.
func (f *Frame) Encode() []byte {
	b := number(nil, fieldSeqID, f.SeqID)
	b = number(b, fieldLogID, f.LogID)
	b = number(b, fieldService, uint64(f.Service)) // a negative one has ten bytes
	b = number(b, fieldMethod, uint64(f.Method))
	for i := range f.Headers {
		h := field(nil, fieldKey, f.Headers[i].Key)
		b = field(b, fieldHeaders, string(field(h, fieldValue, f.Headers[i].Value)))
	}
	b = optional(b, fieldEncoding, f.PayloadEncoding)
	b = optional(b, fieldType, f.PayloadType)
	b = optional(b, fieldPayload, string(f.Payload))
	return optional(b, fieldLogIDNew, f.LogIDNew)
}

func number(b []byte, n protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, n, protowire.VarintType), v)
}

func field(b []byte, n protowire.Number, text string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, n, protowire.BytesType), text)
}

func optional(b []byte, n protowire.Number, text string) []byte {
	if text == "" {
		return b
	}
	return field(b, n, text)
}
