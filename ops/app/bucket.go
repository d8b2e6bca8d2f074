package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"moltbot/contracts"
	"moltbot/ops/config"
)

func configBucket(c config.Config) jetstream.KeyValueConfig {
	return jetstream.KeyValueConfig{
		Bucket: contracts.BucketConfig, Description: "what operators change while moltbot runs",
		History: 8, MaxValueSize: contracts.MaxTable, Storage: jetstream.FileStorage, Replicas: c.NATS.Replicas,
	}
}

// ensureBucket makes the bucket, or corrects its replicas and the size of its values.
func (t *topology) ensureBucket(ctx context.Context) error {
	want := configBucket(t.c)
	_, err := t.js.KeyValue(ctx, want.Bucket)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		_, err = t.js.CreateKeyValue(ctx, want)
		if err == nil {
			t.log.Info().Str("bucket", want.Bucket).Msg("bucket created")
		}
		if !errors.Is(err, jetstream.ErrBucketExists) { // else another process was faster
			return err
		}
	}
	if err != nil && !errors.Is(err, jetstream.ErrBucketExists) {
		return err
	}
	s, err := t.js.Stream(ctx, bucketStream)
	if err != nil {
		return err
	}
	if is := s.CachedInfo().Config; is.Replicas == want.Replicas && is.MaxMsgSize >= want.MaxValueSize {
		return nil
	}
	_, err = t.js.UpdateKeyValue(ctx, want)
	return err
}

// bucketStream is the stream behind the bucket.
const bucketStream = "KV_" + contracts.BucketConfig

// bucket finds the bucket and makes it again where somebody deleted it.
func (t *topology) bucket(ctx context.Context) (jetstream.KeyValue, error) {
	kv, err := t.js.KeyValue(ctx, contracts.BucketConfig)
	if !errors.Is(err, jetstream.ErrBucketNotFound) {
		return kv, err
	}
	t.log.Error().Err(err).Msg("the bucket is missing, making it again")
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.ensureBucket(ctx); err != nil {
		return nil, err
	}
	return t.js.KeyValue(ctx, contracts.BucketConfig)
}

// wanted gives what operators asked for. A value that cannot be read is none.
func (t *topology) wanted(ctx context.Context) (map[contracts.Pool]int, error) {
	kv, err := t.bucket(ctx)
	if err != nil {
		return nil, fmt.Errorf("find the bucket: %w", err)
	}
	all := make(map[contracts.Pool]int)
	for _, p := range contracts.Pools() {
		e, err := kv.Get(ctx, contracts.KeyPoolSlots(p))
		if errors.Is(err, jetstream.ErrKeyNotFound) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", contracts.KeyPoolSlots(p), err)
		}
		if s, err := contracts.DecodePoolSlots(e.Value()); err == nil {
			all[p] = s.Slots
		}
	}
	return all, nil
}

// want stores what an operator asks for; nil takes it back.
func (t *topology) want(ctx context.Context, p contracts.Pool, slots *int) error {
	kv, err := t.bucket(ctx)
	if err != nil {
		return fmt.Errorf("find the bucket: %w", err)
	}
	if slots == nil {
		if err := kv.Delete(ctx, contracts.KeyPoolSlots(p)); err != nil {
			return fmt.Errorf("delete %s: %w", contracts.KeyPoolSlots(p), err)
		}
		return nil
	}
	value, err := contracts.EncodePoolSlots(contracts.PoolSlots{Slots: *slots})
	if err != nil {
		return err
	}
	if _, err := kv.Put(ctx, contracts.KeyPoolSlots(p), value); err != nil {
		return fmt.Errorf("write %s: %w", contracts.KeyPoolSlots(p), err)
	}
	return nil
}

// life tells one bucket from a later one, and how far it is.
type life struct {
	created time.Time
	last    uint64
}

func (t *topology) bucketLife(ctx context.Context) (life, error) {
	s, err := t.js.Stream(ctx, bucketStream)
	if err != nil {
		return life{}, err
	}
	i := s.CachedInfo()
	return life{i.Created, i.State.LastSeq}, nil
}
