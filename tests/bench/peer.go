// peer.go - what tests/soak/million.c does, by grpc-go: the other side of the comparison in tools/bench
//
//	peer publish|receive|both TOPIC COUNT BYTES [EVENTS_A_SECOND]
//
// The service is told by the ENSIGN_ variables; the topic must be there. Messages are written and read by
// hand (protowire), which is less work than generated code does: that favours this side of the comparison.
package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"os"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/protowire"
)

const (
	ahead    = 8192 // events that a publisher is before the acks, or before the subscriber
	textMime = 1
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

var (
	total, size       int
	perSecond         int64
	acked, received   atomic.Int64
	publishing, hears bool
)

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

// ---- the connection

func roots() *x509.CertPool {
	pool := must(x509.SystemCertPool())
	if path := os.Getenv("ENSIGN_CA_FILE"); path != "" {
		pool.AppendCertsFromPEM(must(os.ReadFile(path)))
	}
	return pool
}

func login(config *tls.Config) string {
	client := http.Client{Transport: &http.Transport{TLSClientConfig: config}}
	key := must(json.Marshal(map[string]string{
		"client_id": os.Getenv("ENSIGN_CLIENT_ID"), "client_secret": os.Getenv("ENSIGN_CLIENT_SECRET")}))
	url := os.Getenv("ENSIGN_AUTH_URL") + "/v1/authenticate"
	answer := must(client.Post(url, "application/json", bytes.NewReader(key)))
	defer answer.Body.Close()
	var tokens struct {
		Access string `json:"access_token"`
	}
	if err := json.NewDecoder(answer.Body).Decode(&tokens); err != nil || tokens.Access == "" {
		log.Fatal("auth: no token: ", answer.Status, err)
	}
	return tokens.Access
}

func open(method string) grpc.ClientStream {
	config := &tls.Config{RootCAs: roots()}
	how := credentials.NewTLS(config)
	if os.Getenv("ENSIGN_INSECURE") != "" {
		how = insecure.NewCredentials()
	}
	conn := must(grpc.NewClient(os.Getenv("ENSIGN_ENDPOINT"), grpc.WithTransportCredentials(how)))
	ctx := metadata.AppendToOutgoingContext(context.Background(), "authorization", "Bearer "+login(config))
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

// ---- publish

func event(topic []byte, i int) []byte {
	data := bytes.Repeat([]byte("."), size)
	copy(data, fmt.Sprintf("%010d", i))
	id := make([]byte, 16)
	binary.BigEndian.PutUint64(id[8:], uint64(i))
	now := time.Now()
	created := number(number(nil, 1, uint64(now.Unix())), 2, uint64(now.Nanosecond()))
	inner := field(nil, 2, data)
	inner = number(inner, 4, textMime)
	inner = field(inner, 15, created)
	wrap := field(nil, 2, topic)
	wrap = field(wrap, 9, inner)
	wrap = field(wrap, 16, id)
	return field(nil, 1, wrap)
}

func topicID(ready []byte, name string) (id []byte) {
	for b := ready; len(b) > 0; {
		num, kind, n := protowire.ConsumeTag(b)
		m := protowire.ConsumeFieldValue(num, kind, b[n:])
		if n < 0 || m < 0 {
			break
		}
		if entry, _ := protowire.ConsumeBytes(b[n:]); num == 3 && string(find(entry, 1)) == name {
			return append(id, find(entry, 2)...)
		}
		b = b[n+m:]
	}
	log.Fatal("no topic ", name)
	return nil
}

// How many events may be out by now.
func allowed(begin time.Time) int64 {
	limit := acked.Load() + ahead
	if hears && received.Load()+ahead < limit {
		limit = received.Load() + ahead
	}
	if due := 1 + time.Since(begin).Milliseconds()*perSecond/1000; perSecond > 0 && due < limit {
		limit = due
	}
	return limit
}

func publish(topic string, done chan<- bool) {
	var m []byte
	s := open("Publish")
	send(s, field(nil, 2, field(nil, 1, []byte("peer"))))
	receive(s, &m)
	id := topicID(find(m, 3), topic)
	go func() {
		begin := time.Now()
		for i := 0; i < total; i++ {
			for int64(i) >= allowed(begin) {
				time.Sleep(time.Millisecond)
			}
			send(s, event(id, i))
		}
	}()
	for i := 0; i < total; i++ {
		receive(s, &m)
		local := find(find(m, 1), 1)
		if len(local) != 16 || binary.BigEndian.Uint64(local[8:]) != uint64(i) {
			log.Fatalf("no ack of event %d", i)
		}
		acked.Add(1)
		if publishing && i == total/10 {
			steady = cpu()
		}
	}
	done <- true
}

// ---- receive

func subscribe(topic string, done chan<- bool) {
	var m []byte
	s := open("Subscribe")
	send(s, field(nil, 3, field(field(nil, 1, []byte("peer")), 2, []byte(topic))))
	receive(s, &m)
	fmt.Fprintln(os.Stderr, "ready")
	done <- true
	for i := 0; i < total; i++ {
		receive(s, &m)
		wrap := find(m, 1)
		data := find(find(wrap, 9), 2)
		if len(data) != size || string(data[:10]) != fmt.Sprintf("%010d", i) {
			log.Fatalf("event %.10q of %d bytes where %d of %d was due", data, len(data), i, size)
		}
		send(s, field(nil, 1, field(nil, 1, find(wrap, 1))))
		received.Add(1)
		if !publishing && i == total/10 {
			steady = cpu()
		}
	}
	done <- true
}

// ---- the measure

var steady time.Duration

func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		log.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func main() {
	log.SetFlags(0)
	if len(os.Args) < 5 {
		log.Fatal("peer publish|receive|both TOPIC COUNT BYTES [EVENTS_A_SECOND]")
	}
	mode, topic := os.Args[1], os.Args[2]
	total, size = must(strconv.Atoi(os.Args[3])), must(strconv.Atoi(os.Args[4]))
	if len(os.Args) > 5 {
		perSecond = must(strconv.ParseInt(os.Args[5], 10, 64))
	}
	publishing, hears = mode != "receive", mode != "publish"
	told := make(chan bool)
	waits := 0
	if hears {
		go subscribe(topic, told)
		<-told
		waits++
	}
	if publishing {
		go publish(topic, told)
		waits++
	}
	for ; waits > 0; waits-- {
		<-told
	}
	fmt.Printf("# %s: %.0f ns of CPU an event in this process, first tenth left out\n", mode,
		float64((cpu()-steady).Nanoseconds())/(0.9*float64(total)))
}
