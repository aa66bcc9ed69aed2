// reflected.go - a grpc-go server with server reflection, for ensign call and grpcurl side by side (call.sh)
//
// It tells its address in its first line, and serves gRPC's TestService: UnaryCall answers with its payload, or
// fails with the response_status that it is given and two details; StreamingOutputCall and FullDuplexCall answer
// with payloads of the sizes that are asked for; StreamingInputCall counts bytes.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	_ "google.golang.org/grpc/encoding/gzip" // grpc-go's gzip is there by being imported
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"
)

type server struct {
	testpb.UnimplementedTestServiceServer
}

func (server) UnaryCall(ctx context.Context, in *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
	if s := in.GetResponseStatus(); s.GetCode() != 0 {
		st, err := status.New(codes.Code(s.GetCode()), s.GetMessage()).WithDetails(
			&errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{
				{Field: "payload.body", Description: "too short"}}},
			in.GetPayload())
		if err != nil {
			return nil, err
		}
		return nil, st.Err()
	}
	md, _ := metadata.FromIncomingContext(ctx)
	if echo := md.Get("x-echo-bin"); len(echo) > 0 {
		_ = grpc.SetHeader(ctx, metadata.Pairs("x-echo-bin", echo[0]))
	}
	return &testpb.SimpleResponse{Payload: in.GetPayload(), Username: in.GetPayload().GetType().String()}, nil
}

type sink interface {
	Send(*testpb.StreamingOutputCallResponse) error
}

func answer(in *testpb.StreamingOutputCallRequest, out sink) error {
	for _, p := range in.GetResponseParameters() {
		m := &testpb.StreamingOutputCallResponse{Payload: &testpb.Payload{Body: make([]byte, p.GetSize())}}
		if err := out.Send(m); err != nil {
			return err
		}
	}
	return nil
}

func (server) StreamingOutputCall(in *testpb.StreamingOutputCallRequest, out testpb.TestService_StreamingOutputCallServer) error {
	return answer(in, out)
}

func (server) FullDuplexCall(s testpb.TestService_FullDuplexCallServer) error {
	for {
		in, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := answer(in, s); err != nil {
			return err
		}
	}
}

func (server) StreamingInputCall(s testpb.TestService_StreamingInputCallServer) error {
	size := 0
	for {
		in, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return s.SendAndClose(&testpb.StreamingInputCallResponse{AggregatedPayloadSize: int32(size)})
		}
		if err != nil {
			return err
		}
		size += len(in.GetPayload().GetBody())
	}
}

func main() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	s := grpc.NewServer()
	testpb.RegisterTestServiceServer(s, server{})
	reflection.Register(s)
	fmt.Println(l.Addr())
	log.Fatal(s.Serve(l))
}
