// grpcgo.go - a grpc-go server that ends each connection after a while, or fails, for the clients in this folder
//
//	grpcgo -age 1s                        grpc.testing.TestService, as far as calls.c needs it, and health
//	grpcgo -age 1s -backend HOST:PORT     passes every call on to that server, whatever it is
//	grpcgo -age 1h -fail 2                any method, for retry.c: fails so many attempts of each call first
//
// It tells its port in its first line. A connection gets a GOAWAY at that age, which grpc-go varies by a
// tenth; what is open on it may go on for -grace. By default that is longer than any run.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// A unary call takes so long that every other GOAWAY, about, meets one that runs.
const unaryTakes = 50 * time.Millisecond

// ---------------------------------------------------------------- the server

type service struct {
	testpb.UnimplementedTestServiceServer
}

func (service) EmptyCall(context.Context, *testpb.Empty) (*testpb.Empty, error) {
	time.Sleep(unaryTakes)
	return &testpb.Empty{}, nil
}

// Sends its headers, and then holds the stream as long as the client does.
func (service) FullDuplexCall(stream testpb.TestService_FullDuplexCallServer) error {
	if err := stream.SendHeader(metadata.MD{}); err != nil {
		return err
	}
	<-stream.Context().Done()
	return nil
}

func newServer(ages grpc.ServerOption) *grpc.Server {
	s := grpc.NewServer(ages)
	testpb.RegisterTestServiceServer(s, service{})
	healthpb.RegisterHealthServer(s, health.NewServer())
	return s
}

// ---------------------------------------------------------------- the relay

// Messages stay the bytes that they are.
type raw struct{}

func (raw) Name() string { return "raw" }

func (raw) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }

func (raw) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = append([]byte(nil), data...)
	return nil
}

// What a caller's metadata says beside what gRPC itself puts there.
func onward(ctx context.Context) metadata.MD {
	out := metadata.MD{}
	in, _ := metadata.FromIncomingContext(ctx)
	for key, values := range in {
		if !strings.HasPrefix(key, ":") && !strings.HasPrefix(key, "grpc-") {
			out[key] = values
		}
	}
	return out
}

func passUp(in grpc.ServerStream, out grpc.ClientStream, giveUp func()) {
	for {
		var message []byte
		err := in.RecvMsg(&message)
		if errors.Is(err, io.EOF) {
			_ = out.CloseSend()
			return
		}
		if err != nil || out.SendMsg(&message) != nil {
			giveUp()
			return
		}
	}
}

func passDown(in grpc.ServerStream, out grpc.ClientStream) error {
	header, err := out.Header()
	if err == nil {
		err = in.SendHeader(header)
	}
	for err == nil {
		var message []byte
		if err = out.RecvMsg(&message); err == nil {
			err = in.SendMsg(&message)
		}
	}
	in.SetTrailer(out.Trailer())
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

func newRelay(ages grpc.ServerOption, backend string) *grpc.Server {
	conn, err := grpc.NewClient(backend, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		log.Fatal("grpcgo: ", err)
	}
	both := &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}
	pass := func(_ any, in grpc.ServerStream) error {
		method, _ := grpc.MethodFromServerStream(in)
		ctx, cancel := context.WithCancel(metadata.NewOutgoingContext(in.Context(), onward(in.Context())))
		defer cancel()
		out, err := conn.NewStream(ctx, both, method, grpc.ForceCodec(raw{}))
		if err != nil {
			return err
		}
		go passUp(in, out, cancel)
		return passDown(in, out)
	}
	return grpc.NewServer(ages, grpc.ForceServerCodec(raw{}), grpc.UnknownServiceHandler(pass))
}

// ---------------------------------------------------------------- the server that fails

// failing counts the attempts of each call, by its x-call.
type failing struct {
	first int
	mu    sync.Mutex
	seen  map[string]int
}

// attempt tells how an attempt fails, or nil. A call without x-call never does.
func (f *failing) attempt(ctx context.Context) error {
	in, _ := metadata.FromIncomingContext(ctx)
	name := strings.Join(in.Get("x-call"), ",")
	if name == "" {
		return nil
	}
	f.mu.Lock()
	before := f.seen[name]
	f.seen[name]++
	f.mu.Unlock()
	told, want := strings.Join(in.Get("grpc-previous-rpc-attempts"), ","), ""
	if before > 0 {
		want = fmt.Sprint(before)
	}
	if told != want {
		return status.Errorf(codes.FailedPrecondition, "%s: %d attempts before, the client says %q", name, before, told)
	}
	if before < f.first {
		return status.Errorf(codes.Unavailable, "attempt %d of %s fails", before+1, name)
	}
	return nil
}

// answer sends each message back; /Join all of them in one.
func (f *failing) answer(_ any, stream grpc.ServerStream) error {
	if err := f.attempt(stream.Context()); err != nil {
		return err
	}
	method, _ := grpc.MethodFromServerStream(stream)
	joins := strings.HasSuffix(method, "/Join")
	var all []byte
	for {
		var message []byte
		err := stream.RecvMsg(&message)
		if errors.Is(err, io.EOF) && joins {
			return stream.SendMsg(&all)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil && joins {
			all = append(all, message...)
		} else if err == nil {
			err = stream.SendMsg(&message)
		}
		if err != nil {
			return err
		}
	}
}

func newFailing(ages grpc.ServerOption, first int) *grpc.Server {
	f := &failing{first: first, seen: map[string]int{}}
	return grpc.NewServer(ages, grpc.ForceServerCodec(raw{}), grpc.UnknownServiceHandler(f.answer))
}

func main() {
	age := flag.Duration("age", time.Second, "of a connection, when it gets a GOAWAY")
	grace := flag.Duration("grace", time.Hour, "from then on until it is closed")
	backend := flag.String("backend", "", "the server that every call is passed on to")
	fail := flag.Int("fail", 0, "how many attempts of each call fail with UNAVAILABLE")
	flag.Parse()

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal("grpcgo: ", err)
	}
	fmt.Println("listening on", listener.Addr())
	limits := keepalive.ServerParameters{MaxConnectionAge: *age, MaxConnectionAgeGrace: *grace}
	ages := grpc.KeepaliveParams(limits)
	server := newServer(ages)
	if *backend != "" {
		server = newRelay(ages, *backend)
	} else if *fail > 0 {
		server = newFailing(ages, *fail)
	}
	log.Fatal("grpcgo: ", server.Serve(listener))
}
