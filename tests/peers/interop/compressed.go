// compressed.go - a server for the compression cases of gRPC's interop suite, which grpc-go's own one lacks
//
//	compressed                        plaintext
//	compressed -cert FILE -key FILE   TLS
//
// It tells its port in its first line. expect_compressed is held against what the message was on the wire, and
// a wrong guess is INVALID_ARGUMENT; response_compressed, and `compressed` of each message of a stream, are
// done as they say.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	_ "google.golang.org/grpc/encoding/gzip" // grpc-go's gzip is there by being imported
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"
)

// ---------------------------------------------------------------- was the last message compressed?

type lastMessage struct{ compressed bool }

type lastKey struct{}

// watcher tells each call, by its context, how its messages come.
type watcher struct{}

func (watcher) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context {
	return context.WithValue(ctx, lastKey{}, &lastMessage{})
}

func (watcher) HandleRPC(ctx context.Context, s stats.RPCStats) {
	if in, ok := s.(*stats.InPayload); ok {
		ctx.Value(lastKey{}).(*lastMessage).compressed = in.CompressedLength != in.Length
	}
}

func (watcher) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

func (watcher) HandleConn(context.Context, stats.ConnStats) {}

func check(ctx context.Context, want *testpb.BoolValue) error {
	compressed := ctx.Value(lastKey{}).(*lastMessage).compressed
	if want == nil || want.GetValue() == compressed {
		return nil
	}
	return status.Errorf(codes.InvalidArgument, "expect_compressed is %v, and the message is not so", want.GetValue())
}

// ---------------------------------------------------------------- the methods

type service struct {
	testpb.UnimplementedTestServiceServer
}

func zeros(size int32) *testpb.Payload { return &testpb.Payload{Body: make([]byte, size)} }

func (service) UnaryCall(ctx context.Context, in *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
	if err := check(ctx, in.GetExpectCompressed()); err != nil {
		return nil, err
	}
	if in.GetResponseCompressed() != nil {
		name := "identity"
		if in.GetResponseCompressed().GetValue() {
			name = "gzip"
		}
		if err := grpc.SetSendCompressor(ctx, name); err != nil {
			return nil, err
		}
	}
	return &testpb.SimpleResponse{Payload: zeros(in.GetResponseSize())}, nil
}

func (service) StreamingInputCall(stream testpb.TestService_StreamingInputCallServer) error {
	sum := 0
	for {
		in, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return stream.SendAndClose(&testpb.StreamingInputCallResponse{AggregatedPayloadSize: int32(sum)})
		}
		if err == nil {
			err = check(stream.Context(), in.GetExpectCompressed())
		}
		if err != nil {
			return err
		}
		sum += len(in.GetPayload().GetBody())
	}
}

// A message that was prepared has the form of the stream's beginning, which is not compressed, for the request
// is not; the others have that which was set since.
func (service) StreamingOutputCall(in *testpb.StreamingOutputCallRequest,
	stream testpb.TestService_StreamingOutputCallServer) error {
	if err := grpc.SetSendCompressor(stream.Context(), "gzip"); err != nil {
		return err
	}
	for _, p := range in.GetResponseParameters() {
		var out any = &testpb.StreamingOutputCallResponse{Payload: zeros(p.GetSize())}
		if !p.GetCompressed().GetValue() {
			var plain grpc.PreparedMsg
			if err := plain.Encode(stream, out); err != nil {
				return err
			}
			out = &plain
		}
		if err := stream.SendMsg(out); err != nil {
			return err
		}
	}
	return nil
}

func main() {
	cert := flag.String("cert", "", "the file of its certificate, for TLS")
	key := flag.String("key", "", "the file of the key")
	flag.Parse()

	options := []grpc.ServerOption{grpc.StatsHandler(watcher{})}
	if *cert != "" {
		tls, err := credentials.NewServerTLSFromFile(*cert, *key)
		if err != nil {
			log.Fatal("compressed: ", err)
		}
		options = append(options, grpc.Creds(tls))
	}
	server := grpc.NewServer(options...)
	testpb.RegisterTestServiceServer(server, service{})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal("compressed: ", err)
	}
	fmt.Println("listening on", listener.Addr())
	log.Fatal("compressed: ", server.Serve(listener))
}
