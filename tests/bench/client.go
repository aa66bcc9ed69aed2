// client.go - the bench's client by grpc-go, the library under Ensign's own Go client
//
//	client publish|receive|single|paced EVENTS BYTES ENDPOINT [CA.pem]
//
// What client.c does. Messages are written and read by hand (protowire), which is less work than generated
// code does: that favours grpc-go in the comparison. Prints the same line of JSON.
package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"log"
	"os"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/protowire"
)

const (
	jsonMime = 50
	pace     = time.Millisecond
)

// A codec that hands bytes through.
type raw struct{}

func (raw) Name() string                  { return "proto" }
func (raw) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }

func (raw) Unmarshal(data []byte, v any) error {
	m := v.(*[]byte)
	*m = append((*m)[:0], data...)
	return nil
}

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}

// ---- protobuf

func field(b []byte, tag protowire.Number, value []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, tag, protowire.BytesType), value)
}

func number(b []byte, tag protowire.Number, value uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, tag, protowire.VarintType), value)
}

// The last field of that tag; nil: there is none.
func find(b []byte, tag protowire.Number) (value []byte) {
	for len(b) > 0 {
		num, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			log.Fatal("protobuf: ", protowire.ParseError(n))
		}
		m := protowire.ConsumeFieldValue(num, kind, b[n:])
		if m < 0 {
			log.Fatal("protobuf: ", protowire.ParseError(m))
		}
		if num == tag && kind == protowire.BytesType {
			value, _ = protowire.ConsumeBytes(b[n:])
		}
		b = b[n+m:]
	}
	return value
}

func event(i int, data []byte) []byte {
	id := make([]byte, 16)
	binary.BigEndian.PutUint64(id[8:], uint64(i))
	now := time.Now()
	created := number(number(nil, 1, uint64(now.Unix())), 2, uint64(now.Nanosecond()))
	kind := number(number(number(field(nil, 1, []byte("BenchEvent")), 2, 1), 3, 2), 4, 3)
	inner := make([]byte, 0, len(data)+64)
	inner = field(inner, 2, data)
	inner = number(inner, 4, jsonMime)
	inner = field(inner, 5, kind)
	inner = field(inner, 15, created)
	wrap := make([]byte, 0, len(inner)+64)
	wrap = field(wrap, 2, []byte("TOPICTOPICTOPIC!"))
	wrap = field(wrap, 9, inner)
	wrap = field(wrap, 16, id)
	return field(make([]byte, 0, len(wrap)+16), 1, wrap)
}

// ---- the connection

func open(method, endpoint, ca string) grpc.ClientStream {
	how := insecure.NewCredentials()
	if ca != "" {
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(must(os.ReadFile(ca)))
		how = credentials.NewTLS(&tls.Config{RootCAs: pool})
	}
	conn := must(grpc.NewClient(endpoint, grpc.WithTransportCredentials(how)))
	ctx := metadata.AppendToOutgoingContext(context.Background(), "authorization", "Bearer bench")
	desc := &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}
	return must(conn.NewStream(ctx, desc, "/ensign.v1beta1.Ensign/"+method, grpc.ForceCodec(raw{})))
}

func send(s grpc.ClientStream, m []byte) {
	if err := s.SendMsg(&m); err != nil {
		log.Fatal("send: ", err)
	}
}

func receive(s grpc.ClientStream, m *[]byte) {
	if err := s.RecvMsg(m); err != nil {
		log.Fatal("receive: ", err)
	}
}

// ---- the measure, as in measure.h

var (
	total, size, done int
	cpu               int64
	clock             time.Time
	sent              []time.Time
	took              []float64 // microseconds
)

func cpuNow() int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		log.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

func begin(latencies bool) {
	cpu, clock = cpuNow(), time.Now()
	if latencies {
		sent = make([]time.Time, total)
	}
}

func answered() {
	if sent != nil {
		took = append(took, float64(time.Since(sent[done]).Nanoseconds())/1e3)
	}
	done++
	if done == total/10 {
		cpu, clock = cpuNow(), time.Now()
	}
}

func peak() (kb int) {
	for lines := bufio.NewScanner(must(os.Open("/proc/self/status"))); lines.Scan(); {
		if words := strings.Fields(lines.Text()); words[0] == "VmHWM:" {
			kb = must(strconv.Atoi(words[1]))
		}
	}
	return kb
}

func report() {
	n := float64(total - total/10)
	fmt.Printf(`{"cpu_ns": %.1f, "events_s": %.0f, "peak_kb": %d`,
		float64(cpuNow()-cpu)/n, n/time.Since(clock).Seconds(), peak())
	if sent != nil {
		took = took[total/10:]
		sort.Float64s(took)
		at := func(permille int) float64 { return took[min(len(took)*permille/1000, len(took)-1)] }
		fmt.Printf(`, "p50": %.1f, "p99": %.1f, "p999": %.1f`, at(500), at(990), at(999))
	}
	fmt.Println("}")
}

// ---- what is done

// The sender and the receiver of acks are two goroutines; `turn` tells the sender that it may.
func publish(s grpc.ClientStream, single, paced bool) {
	var m []byte
	data := bytes.Repeat([]byte("x"), size)
	turn := make(chan bool, 1)
	send(s, field(nil, 2, field(nil, 1, []byte("bench"))))
	receive(s, &m)
	begin(single || paced)
	go func() {
		when := time.Now()
		for i := 0; i < total; i++ {
			if paced {
				time.Sleep(time.Until(when))
				when = when.Add(pace)
			}
			if sent != nil {
				sent[i] = time.Now()
			}
			send(s, event(i, data))
			if single {
				<-turn
			}
		}
	}()
	for done < total {
		receive(s, &m)
		if local := find(find(m, 1), 1); len(local) != 16 || binary.BigEndian.Uint64(local[8:]) != uint64(done) {
			log.Fatal("no ack of event ", done)
		}
		answered()
		if single {
			turn <- true
		}
	}
}

func subscribe(s grpc.ClientStream) {
	var m []byte
	send(s, field(nil, 3, field(field(nil, 1, []byte("bench")), 2, []byte("bench"))))
	receive(s, &m)
	begin(false)
	for done <= total { // the one behind them says that all acks have arrived
		receive(s, &m)
		wrap := find(m, 1)
		if data := find(find(wrap, 9), 2); len(data) != size {
			log.Fatal("an event of ", len(data), " bytes")
		}
		if done < total {
			send(s, field(nil, 1, field(nil, 1, find(wrap, 1))))
		}
		answered()
	}
}

func main() {
	log.SetFlags(0)
	if len(os.Args) < 5 {
		log.Fatal("usage: see the head of client.go")
	}
	mode, ca := os.Args[1], ""
	total, size = must(strconv.Atoi(os.Args[2])), must(strconv.Atoi(os.Args[3]))
	if len(os.Args) > 5 {
		ca = os.Args[5]
	}
	if mode == "receive" {
		subscribe(open("Subscribe", os.Args[4], ca))
	} else {
		publish(open("Publish", os.Args[4], ca), mode == "single", mode == "paced")
	}
	report()
}
