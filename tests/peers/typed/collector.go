// The OTLP receiver of OpenTelemetry's collector, with a sink that prints what comes: tests/peers/typed.sh
// sends to it. Each line has the words that the test looks for; gzip counts the messages that came compressed.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"

	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/receiver/otlpreceiver"
	"go.opentelemetry.io/collector/receiver/receivertest"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/gzip"
)

// counting is grpc-go's gzip, and counts what it decompresses.
type counting struct{ encoding.Compressor }

var compressed atomic.Int32

func (c counting) Decompress(r io.Reader) (io.Reader, error) {
	compressed.Add(1)
	return c.Compressor.Decompress(r)
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func takeLogs(_ context.Context, all plog.Logs) error {
	resource := all.ResourceLogs().At(0)
	service, _ := resource.Resource().Attributes().Get("service.name")
	record := resource.ScopeLogs().At(0).LogRecords().At(0)
	fmt.Printf("log %d service=%s severity=%s body=%s trace=%s span=%s time=%v gzip=%d\n", all.LogRecordCount(),
		service.Str(), record.SeverityNumber(), record.Body().Str(), record.TraceID(), record.SpanID(),
		record.Timestamp() > 0, compressed.Load())
	return nil
}

func takeSpans(_ context.Context, all ptrace.Traces) error {
	resource := all.ResourceSpans().At(0)
	service, _ := resource.Resource().Attributes().Get("service.name")
	span := resource.ScopeSpans().At(0).Spans().At(0)
	example, _ := span.Attributes().Get("example")
	fmt.Printf("span %d service=%s name=%s kind=%s trace=%s span=%s example=%s order=%v gzip=%d\n",
		all.SpanCount(), service.Str(), span.Name(), span.Kind(), span.TraceID(), span.SpanID(), example.Str(),
		span.StartTimestamp() <= span.EndTimestamp(), compressed.Load())
	return nil
}

// The receiver does not tell which port it has, so the kernel is asked for a free one before.
func freeAddress() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	defer l.Close()
	return l.Addr().String()
}

func main() {
	encoding.RegisterCompressor(counting{encoding.GetCompressor(gzip.Name)})
	ctx, host := context.Background(), componenttest.NewNopHost()
	factory := otlpreceiver.NewFactory()
	config := factory.CreateDefaultConfig().(*otlpreceiver.Config)
	config.HTTP = nil
	config.GRPC.NetAddr.Endpoint = freeAddress()
	settings := receivertest.NewNopSettings(factory.Type())
	toLogs, err := consumer.NewLogs(takeLogs)
	must(err)
	toSpans, err := consumer.NewTraces(takeSpans)
	must(err)
	logs, err := factory.CreateLogs(ctx, settings, config, toLogs)
	must(err)
	spans, err := factory.CreateTraces(ctx, settings, config, toSpans)
	must(err)
	must(logs.Start(ctx, host))
	must(spans.Start(ctx, host)) // one receiver serves both
	fmt.Printf("listening on %s\n", config.GRPC.NetAddr.Endpoint)
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, os.Interrupt)
	<-stop
	must(logs.Shutdown(ctx))
	must(spans.Shutdown(ctx))
}
