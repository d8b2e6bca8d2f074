package main

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"
)

// redisLog takes the lines that go-redis would write to standard error in a
// form of its own. The library keeps its logger in a package variable, so it is
// set here, once, before anything dials.
type redisLog struct{ log zerolog.Logger }

// Printf implements the library's logger.
func (l redisLog) Printf(_ context.Context, format string, v ...any) {
	l.log.Debug().Str("part", "redis").Str("detail", fmt.Sprintf(format, v...)).Msg("redis client")
}

func takeRedisLog(log zerolog.Logger) zerolog.Logger {
	redis.SetLogger(redisLog{log})
	return log
}
