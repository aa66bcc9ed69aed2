# ensign.h: nothing has to be built to use it. This builds the development server, the examples and the
# tests, runs them, and installs the header. `make help` lists the targets. Everything that is built lies
# under build/.

MAKEFLAGS += --no-builtin-rules
ifeq ($(MAKELEVEL),0)
MAKEFLAGS += -j2
endif
.DEFAULT_GOAL := all
.DELETE_ON_ERROR:

# ---------------------------------------------------------------- settings

PREFIX       ?= /usr/local
CFLAGS       ?= -O2 -g
CXXFLAGS     ?= $(CFLAGS)
JOBS         ?= 2
TEST_TIMEOUT ?= 1500
FUZZ_SECONDS ?= 60

# A variant is the same tree built another way, in a folder of its own: make VARIANT=asan suite
VARIANT      ?=
FLAGS_asan   := -O0 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
FLAGS_i386   := -O1 -g0
FLAGS_mbedtls36 := -O1 -isystem build/mbedtls36/include -Lbuild/mbedtls36/lib # what tools/mbedtls36 brings
B            := build$(VARIANT:%=/%)

WARN  := -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror
C     := $(CC) $(CPPFLAGS) -I. $(CFLAGS) $(FLAGS_$(VARIANT)) $(WARN)
X     := $(CXX) $(CPPFLAGS) -I. $(CXXFLAGS) $(FLAGS_$(VARIANT)) $(WARN) -std=c++11
LIBS  := -lnghttp2 -lmbedtls -lmbedx509 -lmbedcrypto -lprotobuf-nanopb
NANOPB := -idirafter /usr/include/nanopb # where some distributions have it; generated code asks for <pb.h>
LIBS_PROTOBUF := -lprotobuf -lstdc++
LIBS_ensignd = $(LIBS) -lmicrohttpd -ljansson -lsqlite3 $(LIBS_NATS)
LIBS_NATS = $(if $(NATS),-lnats -pthread)

# A recipe shows one short line; V=1 shows the commands.
Q     := $(if $(V),,@)
say    = @printf '  %-5s %s\n' $(1) $@

# ---------------------------------------------------------------- what there is

programs   = $(patsubst %.c,$(B)/%,$(wildcard $(1)))
# $(call there,HEADER): what needs it is built where the compiler finds it.
there      = $(shell $(CC) $(CPPFLAGS) -include $(1) -E -x c /dev/null >/dev/null 2>&1 && echo here)
ZLIB      := $(call there,zlib.h)
GZIP      := %/gzip %/fuzz_gzip # these need it
# libprotobuf with the interface that it had before 22, which took the first of these headers away.
PROTOBUF  := $(shell $(CXX) $(CPPFLAGS) -include google/protobuf/stubs/logging.h \
                 -include google/protobuf/util/json_util.h -E -x c++ /dev/null >/dev/null 2>&1 && echo here)
SCHEMA    := %/schema %/fuzz_schema
OF_NATS   := %/ensignd_nats
NATS      := $(call there,nats/nats.h)
NATS_O     = $(patsubst %,$(B)/obj/tools/ensignd/%.o,$(if $(NATS),$(NATS_C),log_nats_none))
NATS_C    := log_nats nats_append nats_consumer nats_link nats_read nats_records nats_text
buildable  = $(filter-out $(if $(ZLIB),,$(GZIP)) $(if $(PROTOBUF),,$(SCHEMA)) $(if $(NATS),,$(OF_NATS)),$(1))
UNIT      := $(call buildable,$(call programs,tests/unit/*.c tests/seq/*.c tests/fault/*.c tests/sim/*.c))
SIM       := $(B)/tests/sim/sim
E2E       := $(call programs,tests/e2e/*.c)
SOAK      := $(call programs,tests/soak/*.c)
PEERS     := $(call programs,tests/peers/*.c)
BENCH     := $(addprefix $(B)/tests/bench/,sink client client-openssl client-grpc mallocs.so)
BENCH_SERVER := $(B)/tests/bench/server
BENCH_GEN := $(B)/tests/bench/gen
BENCH_PB  := $(patsubst proto/%.proto,$(BENCH_GEN)/%.pb.cc, \
                 $(wildcard proto/api/*/*.proto proto/mimetype/*/*.proto proto/region/*/*.proto)) \
             $(BENCH_GEN)/api/v1beta1/ensign.grpc.pb.cc
FUZZ      := $(call buildable,$(filter-out $(B)/tests/fuzz/replay,$(call programs,tests/fuzz/*.c)))
FUZZERS   := $(patsubst $(B)/tests/fuzz/%,build/fuzz/%,$(FUZZ))
OPENSSL   := $(call there,openssl/ssl.h)
GENERATOR := $(shell command -v nanopb_generator.py || command -v nanopb_generator)
PLUGIN    := tools/protoc-gen-ensign
CAN_TYPE  := $(and $(GENERATOR),$(shell command -v python3),$(shell command -v protoc))
TYPED     := greeter etcd_watch otlp_export # examples with typed calls
EXAMPLES  := $(filter-out $(if $(OPENSSL),,%/openssl) $(if $(CAN_TYPE),,$(addprefix %/,$(TYPED))), \
                 $(call programs,examples/*.c))
EXAMPLES_X := $(patsubst %.cc,$(B)/%,$(wildcard examples/*.cc))
SERVER    := $(B)/ensignd
COMMON_O  := $(patsubst %.c,$(B)/obj/%.o,$(wildcard tools/common/*.c))
SERVER_O  := $(filter-out $(addprefix %/,$(addsuffix .o,$(NATS_C) log_nats_none)), \
                 $(patsubst %.c,$(B)/obj/%.o,$(wildcard tools/ensignd/*.c))) $(NATS_O)
MESSAGES  := $(B)/gen/message_types.h
TOOL      := $(B)/ensign
TOOL_JSON := $(addprefix $(B)/obj/tools/ensign/,call_json.o protoc.o reflect.o schema.o) # by libprotobuf
TOOL_O    := $(filter-out $(if $(PROTOBUF),%/call_none.o,$(TOOL_JSON)), \
                 $(sort $(patsubst %.c,$(B)/obj/%.o,$(wildcard tools/ensign/*.c)) $(TOOL_JSON)))
MATRIX    := $(if $(VARIANT),,$(wildcard tests/compile/run))
BENCHES   := tests/e2e/bench_server.sh # its figures are of a build with optimisation
SCRIPTS   := $(filter-out $(if $(VARIANT),$(BENCHES)),$(wildcard tests/e2e/*.sh)) \
             $(if $(VARIANT),,$(wildcard tests/compile/*.sh))

REPLAYS   := $(foreach f,$(FUZZ),"$(f) tests/fuzz/corpus/$(patsubst fuzz_%,%,$(notdir $(f)))")
HELPERS   := $(addprefix $(B)/tests/peers/,service certificates many) $(BENCH_SERVER) # for scripts of tests/e2e
BUILT     := $(SERVER) $(TOOL) $(EXAMPLES) $(EXAMPLES_X) $(UNIT) $(E2E) $(FUZZ) $(HELPERS)

# ---------------------------------------------------------------- targets

.SECONDARY: $(BENCH_PB)
.PHONY: all help deps demo test suite programs check check-asan check-valgrind check-mbedtls36 check-bits32 \
        check-late check-nats check-places cluster generated suite-tls test-peers test-live soak fuzz bench \
        bench-server bench-check bench-record small server tool examples install install-header \
        install-plugin install-tool uninstall clean

all: server tool examples
	@echo "Built build/ensignd, build/ensign and build/examples. Next: make demo, make test, make help."

help:
	@echo "make demo         install what is needed, build, send two events through a local server"
	@echo "make test         the tests"
	@echo "make check        the tests again under ASan, UBSan and valgrind, and with 32-bit pointers; those of TLS"
	@echo "                  with mbedTLS 3.6; those of ensignd over a log that is late and fails; a NATS server for"
	@echo "                  tests beside the real one, and a cluster of that one"
	@echo "make cluster      three nats-server and three ensignd on this machine, until ^C"
	@echo "make test-peers   against other people's programs: gRPC's interop server, h2spec, grpcurl, PyEnsign,"
	@echo "                  go-ensign, grpc-go and grpcio that end connections, etcd, OpenTelemetry's collector"
	@echo "make test-live    a session with the server that the ENSIGN_ variables name"
	@echo "make soak         the long runs"
	@echo "make fuzz         each fuzz target for FUZZ_SECONDS [60]"
	@echo "make bench        what an event costs, beside gRPC C++, grpc-go and PyEnsign: about ten minutes."
	@echo "                  ARGS: parts and options, as tools/bench --help tells them"
	@echo "make bench-server what ensignd does in a second, beside the commit before: about fifteen minutes. ARGS:"
	@echo "                  as tools/bench_server --help tells them"
	@echo "make bench-check  instructions, allocations and sizes beside those that make bench-record has written"
	@echo "make small        small static programs with musl, from Debian's sources: sizes, memory; they run"
	@echo "make              build/ensignd, build/ensign and build/examples; make server, make tool,"
	@echo "                  make examples: one of them"
	@echo "make deps         install what demo, test and check need"
	@echo "make install      ensign.h and ensign.pc, the plugin protoc-gen-ensign, and the program ensign with its"
	@echo "                  manual and completions: make install-header, make install-plugin, make install-tool:"
	@echo "                  one of the three; DESTDIR, PREFIX [/usr/local]; make uninstall removes them"
	@echo "make clean        remove build/"
	@echo
	@echo "Settings: CC, CXX, CFLAGS, CPPFLAGS, LDFLAGS; V=1 shows commands; JOBS [2] test programs at a time;"
	@echo "TEST_TIMEOUT [1500] s for each; make VARIANT=asan suite: all with sanitizers, under build/asan."

deps:
	@tools/deps check
	@tools/deps peers

demo:
	@tools/deps demo
	@$(MAKE) --no-print-directory server tool $(B)/examples/publish $(B)/examples/subscribe
	@BUILD=$(B) tools/demo.sh

cluster:
	@tools/deps cluster
	@tools/nats_server
	@$(MAKE) --no-print-directory server tool
	@BUILD=$(B) tools/cluster/up

test:
	@tools/deps test
	@tools/deps peers
	@$(MAKE) --no-print-directory suite

# What `make test` runs once it is all there: the compile matrix, which takes longest; programs; recorded fuzz
# inputs; scripts.
suite: $(BUILT)
	@BUILD=$(B) ENSIGND=$(B)/ensignd CC="$(CC)" CXX="$(CXX)" \
	    tests/run -n "tests in $(B)" -j $(JOBS) -t $(TEST_TIMEOUT) $(TALLY) \
	    $(MATRIX) $(UNIT) $(REPLAYS) $(E2E) $(SCRIPTS)

# Those of them that use TLS, for another mbedTLS.
TLS_C  := $(B)/tests/unit/client \
          $(call programs,$(shell grep -lE 'mbedtls/|(certs|secure)\.h' tests/unit/*.c tests/seq/*.c tests/e2e/*.c))
TLS_SH := $(wildcard $(addprefix tests/e2e/,nginx.sh proxy.sh service.sh session.sh tls.sh))

suite-tls: $(TLS_C) $(SERVER) $(TOOL) $(B)/examples/publish $(B)/examples/subscribe $(HELPERS)
	@BUILD=$(B) tests/run -n "tests of TLS in $(B)" -j $(JOBS) -t $(TEST_TIMEOUT) $(TALLY) $(TLS_C) $(TLS_SH)

# ---------------------------------------------------------------- stricter; each part runs, come what may

CHECKS := check-asan check-valgrind check-late check-nats check-mbedtls36 check-bits32 check-places

check:
	@tools/deps check
	@mkdir -p build && rm -f build/check.sum
	@for part in $(CHECKS); do \
	    lines=$$(cat build/check.sum 2>/dev/null | wc -l); \
	    $(MAKE) --no-print-directory $$part TALLY="-T build/check.sum" || \
	        [ "$$(cat build/check.sum 2>/dev/null | wc -l)" -gt "$$lines" ] || echo 0 1 0 >>build/check.sum; \
	done
	@echo "make check, in all"
	@tests/run -S build/check.sum

# FEWER divides the seeds of the long runs; `make test` has them all.
check-asan:
	@UBSAN_OPTIONS=print_stacktrace=1 FEWER=3 \
	    $(MAKE) --no-print-directory suite VARIANT=asan CC=clang CXX=clang++

# Without the scripts: they drive the code that the others do, and would take ten times as long.
check-valgrind: $(UNIT) $(FUZZ)
	@FEWER=25 tests/run -n "tests under valgrind" -j $(JOBS) -t 900 $(TALLY) \
	    -w "valgrind -q --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite,possible" \
	    $(UNIT) $(REPLAYS)

# Tests of the whole server over the log that is late, where they keep all in memory. Each seed of STORE_SEEDS
# is another order of its answers.
STORE_SEEDS ?= 1 2 3
LATE_C  := $(addprefix $(B)/tests/e2e/,faults groups query)
LATE_SH := $(wildcard $(addprefix tests/e2e/,cli.sh cli_groups.sh ensql.sh examples.sh))

LATE := $(foreach seed,$(STORE_SEEDS),$(foreach t,$(LATE_C) $(LATE_SH),"env STORE_SEED=$(seed) $(t)"))

check-late: $(LATE_C) $(SERVER) $(TOOL) $(EXAMPLES) $(HELPERS)
	@BUILD=$(B) ENSIGND=tests/late tests/run -n "over a log that is late, seeds $(STORE_SEEDS)" -j $(JOBS) \
	    -t $(TEST_TIMEOUT) $(TALLY) $(LATE)

# The NATS server that tests of the engine talk to, beside nats-server, where that can be had; the engine over
# both; and a cluster.
NATS_TESTS := $(B)/tests/unit/ensignd_log $(B)/tests/unit/ensignd_nats
check-nats: $(SERVER) $(TOOL) $(NATS_TESTS)
	@tools/nats_server || true
	@BUILD=$(B) ENSIGND=$(SERVER) tests/run -n "NATS" -j $(JOBS) -t $(TEST_TIMEOUT) $(TALLY) tests/nats/fake_test \
	    tests/nats/engine.sh $(NATS_TESTS) tests/e2e/nats.sh tests/nats/cluster.sh

check-mbedtls36:
	@tools/mbedtls36
	@tests/run -n "compiled against mbedTLS 3.6" $(TALLY) "tests/compile/mbedtls36.sh build/mbedtls36/include"
	@$(MAKE) --no-print-directory suite-tls VARIANT=mbedtls36

# What cannot be had is left out, and the script says so.
check-bits32:
	@tools/bits32 || true
	@tests/run -n "with 32-bit pointers" -t 1800 $(TALLY) "tests/compile/bits32.sh build/bits32"

# The long forms: more events, more kills, and each way in which the late engine can be late.
check-places: $(SERVER) $(B)/tests/e2e/places_kill
	@ENSIGND=$(SERVER) tests/run -n "groups and places, longer" -j $(JOBS) -t $(TEST_TIMEOUT) $(TALLY) \
	    "$(B)/tests/e2e/places_kill late 1 100" "$(B)/tests/e2e/places_kill late 101 100" \
	    "$(B)/tests/e2e/places_kill 200000 5"

# ---------------------------------------------------------------- other programs, other servers, longer

test-peers:
	@tools/deps test
	@tools/deps peers
	@$(MAKE) --no-print-directory $(SERVER) $(TOOL) $(EXAMPLES) $(PEERS)
	@tests/peers/run

test-live:
	@tools/deps test
	@$(MAKE) --no-print-directory $(EXAMPLES) $(PEERS)
	@tests/peers/live.sh

soak:
	@tools/deps demo
	@$(MAKE) --no-print-directory $(SERVER) $(SOAK) $(SIM)
	@for run in $(wildcard tests/soak/*.sh); do $$run || exit 1; done

fuzz:
	@tools/deps check
	@$(MAKE) --no-print-directory $(FUZZERS)
	@cd build/fuzz && for f in $(notdir $(FUZZERS)); do \
	    echo "  FUZZ  $$f, $(FUZZ_SECONDS) s"; mkdir -p corpus/$$f; \
	    ./$$f -max_total_time=$(FUZZ_SECONDS) -print_final_stats=1 -verbosity=0 -artifact_prefix=$$f. \
	        corpus/$$f $$(ls -d ../../tests/fuzz/corpus/$${f#fuzz_} 2>/dev/null) || exit 1; \
	done

# ---------------------------------------------------------------- how things are built

server: $(SERVER)
tool: $(TOOL)
examples: $(EXAMPLES)
programs: $(BUILT) $(SOAK)

# A test takes longer to optimise than to run: little is done for it, unless CFLAGS were given.
ifeq ($(origin CFLAGS),file)
# With sanitizers clang takes five times as long to optimise: there it is done for the long runs alone.
LONG := $(SIM) $(filter $(B)/tests/fault/%,$(UNIT)) $(addprefix $(B)/tests/seq/,outage chaos waiting)
$(if $(filter asan,$(VARIANT)),$(filter $(LONG),$(UNIT)),$(UNIT)) $(B)/obj/tests/ensign.o: C += -O1
$(filter $(B)/tests/unit/%,$(UNIT)) $(E2E) $(FUZZ): C += -O0
ifeq ($(VARIANT),)
$(EXAMPLES): C += -O1
endif
endif

# Programs that use the public half alone have the implementation linked: it takes ten times as long to compile
# as they do. Those that look inside, or that set it up in a way of their own, compile it.
INSIDE := $(addprefix $(B)/tests/,$(addprefix seq/,auth endpoints external external_no_tls gzip retry) fault/gzip)
LINKED := $(filter-out $(INSIDE),$(filter $(addprefix $(B)/tests/,seq/% fault/% sim/%),$(UNIT)))
$(LINKED): $(B)/obj/tests/ensign.o
$(LINKED): C += -DENSIGN_LINKED

$(B)/obj/tests/ensign.o: ensign.h
	$(call say,CC)
	$(Q)mkdir -p $(@D)
	$(Q)$(C) -std=gnu11 -DENSIGN_IMPLEMENTATION -x c -c -o $@ $<

# A unit with the implementation in it, and what it includes; the .d files know the rest.
$(SERVER): $(SERVER_O) $(COMMON_O)
	$(call say,LINK)
	$(Q)$(C) -o $@ $(SERVER_O) $(COMMON_O) $(LDFLAGS) $(LIBS_ensignd)

# With gzip, where zlib is there.
ifdef ZLIB
$(TOOL_O): C += -DENSIGN_GZIP
$(TOOL): LIBS += -lz
endif

$(TOOL): $(TOOL_O) $(COMMON_O)
	$(call say,LINK)
	$(Q)$(C) -o $@ $(TOOL_O) $(COMMON_O) $(LDFLAGS) $(LIBS) $(if $(PROTOBUF),$(LIBS_PROTOBUF))

# The messages of ensign.h, and those of ensignd's own service, without their codec.
$(MESSAGES): tools/common/message_types.awk ensign.h tools/common/group_messages.h
	$(call say,GEN)
	$(Q)mkdir -p $(@D)
	$(Q)awk -f $^ >$@

$(SERVER_O) $(TOOL_O) $(UNIT): $(MESSAGES)
$(SERVER_O) $(TOOL_O) $(UNIT): C += -I$(B)/gen

$(B)/obj/%.o: %.c ensign.h
	$(call say,CC)
	$(Q)mkdir -p $(@D)
	$(Q)$(C) -std=gnu11 -MMD -MP -c -o $@ $<

# It is linked by the C compiler, so it may have no check of UBSan's that needs its part for C++.
$(B)/obj/%.o: %.cc ensign.h
	$(call say,CXX)
	$(Q)mkdir -p $(@D)
	$(Q)$(X) -fno-sanitize=vptr $(if $(findstring clang,$(CXX)),-fno-sanitize=function) -MMD -MP -c -o $@ $<

$(UNIT) $(E2E) $(SOAK) $(PEERS): $(B)/%: %.c ensign.h
	$(call say,CC)
	$(Q)mkdir -p $(@D)
	$(Q)$(C) -std=gnu11 -MMD -MP -MF $@.d -o $@ $< $(filter %.o,$^) $(LDFLAGS) -lcmocka $(LIBS)

# What reads a query and looks at an event, in ensignd.
ENSQL_C := $(patsubst %,tools/ensignd/%.c,ensql ensql_text field ids lib select util where) \
           tools/common/utf8.c

ENSQL_O := $(patsubst %.c,$(B)/obj/%.o,$(ENSQL_C))

$(B)/tests/unit/query $(B)/tests/unit/ensignd_query: LIBS += -ljansson
$(B)/tests/unit/query $(B)/tests/unit/ensignd_query: $(ENSQL_O)
$(B)/tests/unit/query: $(addprefix $(B)/obj/tools/ensignd/,jobs.o reply.o restore.o walk.o wrapper.o)
LOG_TESTS := $(addprefix $(B)/tests/unit/ensignd_,log log_model nats)
$(LOG_TESTS) $(addprefix $(B)/tests/unit/ensignd_,log_sqlite dedup_window policy): LIBS += -lsqlite3
$(B)/tests/unit/ensignd_dedup_window: $(patsubst %,$(B)/obj/tools/ensignd/%.o,dedup ids lib log log_carry log_late \
                                        log_now log_sqlite restore topics util)
$(B)/tests/unit/ensignd_policy: $(patsubst %,$(B)/obj/tools/ensignd/%.o,change dedup dedup_window ids jobs lib log \
                                  log_carry log_late log_now log_sqlite numbers rehash reply restore topic_state \
                                  topics util walk)
$(B)/tests/unit/ensignd_dump: LIBS += -lsqlite3 -ljansson
$(B)/tests/unit/ensignd_dump: $(patsubst %,$(B)/obj/tools/ensignd/%.o,dump field ids keys lib load log log_carry \
                                log_late log_sqlite moved progress stored_json topics wrapper) \
                              $(B)/obj/tools/common/utf8.o
$(B)/tests/unit/ensignd_log_sqlite: $(patsubst %,$(B)/obj/tools/ensignd/%.o,ids lib log_carry log_sqlite util)
$(LOG_TESTS): $(patsubst %,$(B)/obj/tools/ensignd/%.o,ids lib log log_carry log_late log_sqlite) $(NATS_O)
$(LOG_TESTS): LIBS += -ljansson $(LIBS_NATS)

$(B)/tests/unit/ensignd_keys: LIBS += -ljansson
$(B)/tests/unit/ensignd_keys: $(patsubst %,$(B)/obj/tools/ensignd/%.o,auth ids keys lib log log_late log_now)

# The places of groups, over the engine of the log that is late.
PLACE_O := $(patsubst %,$(B)/obj/tools/ensignd/%.o,dedup ids kept lib log log_late place restore \
                                             wrapper)
$(B)/tests/unit/ensignd_place: $(PLACE_O)
GROUP_O := $(PLACE_O) $(filter-out %/util.o,$(ENSQL_O)) $(addprefix $(B)/obj/tools/ensignd/,filter.o group.o)
$(B)/tests/unit/ensignd_group $(B)/tests/unit/ensignd_dead_letter: LIBS += -ljansson
$(B)/tests/unit/ensignd_group: $(GROUP_O)
$(B)/tests/unit/ensignd_dead_letter: $(GROUP_O) \
                                     $(patsubst %,$(B)/obj/tools/ensignd/%.o,faults topic_state topics)
$(filter $(GZIP),$(UNIT) $(FUZZ) $(FUZZERS)): LIBS += -lz

# The types and the JSON of ensign call, which libprotobuf reads.
$(filter $(SCHEMA),$(UNIT) $(FUZZ)): $(addprefix $(B)/obj/tools/,ensign/schema.o common/utf8.o)
$(filter $(SCHEMA),$(FUZZERS)): $(addprefix build/asan/obj/tools/,ensign/schema.o common/utf8.o)
$(filter $(SCHEMA),$(UNIT) $(FUZZ) $(FUZZERS)): LIBS += $(LIBS_PROTOBUF)
$(filter $(SCHEMA),$(UNIT)): $(B)/gen/schema.set
$(filter $(SCHEMA),$(UNIT)): C += -DSCHEMA_SET='"$(B)/gen/schema.set"'

$(B)/gen/schema.set: $(wildcard tests/unit/*.proto)
	$(call say,GEN)
	$(Q)mkdir -p $(@D)
	$(Q)protoc -Itests/unit --include_imports --descriptor_set_out=$@ $^
$(B)/tests/unit/growth: C += -finstrument-functions # it counts them

$(FUZZ): $(B)/%: %.c tests/fuzz/replay.c ensign.h
	$(call say,CC)
	$(Q)mkdir -p $(@D)
	$(Q)$(C) -std=gnu11 -MMD -MP -MF $@.d -o $@ $(filter %.c %.o,$^) $(LDFLAGS) $(LIBS)

$(FUZZERS): build/fuzz/%: tests/fuzz/%.c ensign.h
	$(call say,CC)
	$(Q)mkdir -p $(@D)
	$(Q)clang $(CPPFLAGS) -I. -I$(B)/gen $(FLAGS_asan) -O1 -fsanitize=fuzzer -std=gnu11 -MMD -MP -MF $@.d -o $@ \
	    $(filter %.c %.o,$^) $(LDFLAGS) $(LIBS)

$(B)/tests/fuzz/fuzz_ensql build/fuzz/fuzz_ensql: $(ENSQL_C) $(wildcard tools/ensignd/*.h) $(MESSAGES)
$(B)/tests/fuzz/fuzz_ensql: C += -I$(B)/gen
$(B)/tests/fuzz/fuzz_ensql build/fuzz/fuzz_ensql: LIBS += -ljansson

ifneq ($(B),build/asan)
build/asan/obj/%.o: tools/ensign/schema.cc tools/common/utf8.c ensign.h
	$(Q)$(MAKE) --no-print-directory VARIANT=asan CC=clang CXX=clang++ $@
endif

# The examples are C99.
$(EXAMPLES): $(B)/%: %.c ensign.h
	$(call say,CC)
	$(Q)mkdir -p $(@D)
	$(Q)$(C) -std=c99 -I$(B)/gen/examples $(NANOPB) -MMD -MP -MF $@.d -o $@ $< $(filter %.o,$^) \
	    $(LDFLAGS) $(LIBS)

$(B)/examples/resolver_thread: LIBS += -lpthread
$(B)/examples/openssl: LIBS := -lssl -lcrypto -lnghttp2 -lprotobuf-nanopb # in the place of mbedTLS

# What .proto files become: nanopb's messages, and typed calls where there is a service. No other program than
# these needs a generator. A file's folder is what it imports others from; a program names the objects it needs.
PROTO_DIRS  := tests/typed examples
PROTOS      := $(shell find $(PROTO_DIRS) -name '*.proto')
PB_H        := $(PROTOS:%.proto=$(B)/gen/%.pb.h)
OTLP_H      := $(filter $(B)/gen/examples/otlp/%,$(PB_H))
TYPED_H     := $(patsubst %.proto,$(B)/gen/%.ensign.h,$(shell grep -l '^service ' $(PROTOS)))
proto_dir    = $(firstword $(foreach d,$(PROTO_DIRS),$(if $(filter $d/%,$1),$d)))

$(B)/examples/grpc_unary: $(B)/gen/examples/health.pb.o
$(B)/tests/seq/typed: C += -I$(B)/gen/tests/typed $(NANOPB)
$(B)/tests/seq/typed: $(addprefix $(B)/gen/tests/typed/,test.pb.o test.ensign.h)
$(B)/examples/greeter: $(addprefix $(B)/gen/examples/,greeter.pb.o greeter.ensign.h)
$(B)/examples/etcd_watch: $(addprefix $(B)/gen/examples/,etcd.pb.o etcd_kv.pb.o etcd.ensign.h)
$(B)/examples/otlp_export: $(OTLP_H:.h=.o) \
                           $(addprefix $(B)/gen/examples/otlp/,logs_service.ensign.h trace_service.ensign.h)
ifdef ZLIB
$(B)/examples/otlp_export: C += -DENSIGN_GZIP
$(B)/examples/otlp_export: LIBS += -lz
endif
generated: $(PB_H) $(TYPED_H) # tests/compile/bits32.sh asks for it

$(PB_H): $(B)/gen/%.pb.h: %.proto $(shell find $(PROTO_DIRS) -name '*.options')
	$(call say,GEN)
	$(Q)mkdir -p $(B)/gen/$(call proto_dir,$<)
	$(Q)$(GENERATOR) -q -I $(call proto_dir,$<) -D $(B)/gen/$(call proto_dir,$<) $(<:$(call proto_dir,$<)/%=%)

$(TYPED_H): $(B)/gen/%.ensign.h: %.proto $(PLUGIN) $(B)/gen/%.pb.h
	$(call say,GEN)
	$(Q)protoc -I $(call proto_dir,$<) --plugin=protoc-gen-ensign=$(PLUGIN) \
	    --ensign_opt=-I$(call proto_dir,$<) --ensign_out=$(B)/gen/$(call proto_dir,$<) $<

# With the messages that it imports.
$(OTLP_H:.h=.o): $(OTLP_H)
$(B)/gen/examples/etcd.pb.o: $(B)/gen/examples/etcd_kv.pb.h
$(PB_H:.h=.o): %.o: %.h
	$(call say,CC)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) $(FLAGS_$(VARIANT)) $(addprefix -I$(B)/gen/,$(PROTO_DIRS)) $(NANOPB) -c \
	    -o $@ $(<:.h=.c)

examples: $(EXAMPLES_X)

$(EXAMPLES_X): $(B)/%: %.cc ensign.h
	$(call say,CXX)
	$(Q)mkdir -p $(@D)
	$(Q)$(X) -MMD -MP -MF $@.d -o $@ $< $(LDFLAGS) $(LIBS)

-include $(SERVER_O:.o=.d) $(TOOL_O:.o=.d) $(B)/obj/tools/ensign/schema.d $(COMMON_O:.o=.d)
-include $(addsuffix .d,$(UNIT) $(E2E) $(SOAK) $(PEERS) $(BENCH) $(BENCH_SERVER) $(FUZZ) $(EXAMPLES) \
                    $(EXAMPLES_X) $(FUZZERS))

# ---------------------------------------------------------------- install: the header, the plugin, the program

VERSION = $(or $(shell sed -n 's/^\#define ENSIGN_VERSION[ ]*"\(.*\)".*/\1/p' ensign.h),0)

define PC
prefix=$(PREFIX)
includedir=$${prefix}/include

Name: ensign
Description: Ensign event streaming, and gRPC to any server, in one C header
Version: $(VERSION)
Cflags: -I$${includedir}
Libs: $(LIBS)
endef

INSTALLED_H      = $(DESTDIR)$(PREFIX)/include/ensign.h
INSTALLED_PC     = $(DESTDIR)$(PREFIX)/share/pkgconfig/ensign.pc
INSTALLED_PLUGIN = $(DESTDIR)$(PREFIX)/bin/protoc-gen-ensign
INSTALLED_TOOL   = $(DESTDIR)$(PREFIX)/bin/ensign
INSTALLED_MAN    = $(DESTDIR)$(PREFIX)/share/man/man1/ensign.1
INSTALLED_BASH   = $(DESTDIR)$(PREFIX)/share/bash-completion/completions/ensign
INSTALLED_ZSH    = $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_ensign

install: install-header install-plugin install-tool

install-header: export TEXT = $(PC)
install-header: ensign.h
	install -D -m 644 ensign.h "$(INSTALLED_H)"
	mkdir -p "$(dir $(INSTALLED_PC))" && printf '%s\n' "$$TEXT" >"$(INSTALLED_PC)"

install-plugin: $(PLUGIN)
	install -D -m 755 $(PLUGIN) "$(INSTALLED_PLUGIN)"

install-tool: $(TOOL)
	install -D -m 755 $(TOOL) "$(INSTALLED_TOOL)"
	install -D -m 644 tools/ensign/ensign.1 "$(INSTALLED_MAN)"
	install -D -m 644 tools/ensign/ensign.bash "$(INSTALLED_BASH)"
	install -D -m 644 tools/ensign/_ensign "$(INSTALLED_ZSH)"

uninstall:
	rm -f "$(INSTALLED_H)" "$(INSTALLED_PC)" "$(INSTALLED_PLUGIN)" "$(INSTALLED_TOOL)" "$(INSTALLED_MAN)" \
	    "$(INSTALLED_BASH)" "$(INSTALLED_ZSH)"

# ---------------------------------------------------------------- figures; never a part of the tests

bench:
	@tools/deps bench
	@$(MAKE) --no-print-directory $(BENCH)
	@BUILD=$(B) tools/bench $(ARGS)

bench-server:
	@tools/deps test
	@$(MAKE) --no-print-directory $(SERVER) $(BENCH_SERVER)
	@BUILD=$(B) tools/bench_server $(ARGS)

bench-check:
	@tools/deps check
	@BUILD=$(B) CC="$(CC)" tools/bench_check

bench-record:
	@tools/deps check
	@BUILD=$(B) CC="$(CC)" tools/bench_check --record

# Without assertions, as Debian builds gRPC.
$(addprefix $(B)/tests/bench/,client client-openssl server): C += -DNDEBUG

$(addprefix $(B)/tests/bench/,sink client server): $(B)/%: %.c ensign.h
	$(call say,CC)
	$(Q)mkdir -p $(@D)
	$(Q)$(C) -std=gnu11 -MMD -MP -MF $@.d -o $@ $< $(LDFLAGS) $(LIBS)

$(B)/tests/bench/sink: LIBS = -lssl -lcrypto

$(B)/tests/bench/client-openssl: tests/bench/client.c ensign.h
	$(call say,CC)
	$(Q)mkdir -p $(@D)
	$(Q)$(C) -std=gnu11 -DBENCH_OPENSSL -MMD -MP -MF $@.d -o $@ $< $(LDFLAGS) $(LIBS) -lssl -lcrypto

$(B)/tests/bench/mallocs.so: tests/bench/mallocs.c
	$(call say,CC)
	$(Q)mkdir -p $(@D)
	$(Q)$(C) -std=gnu11 -fPIC -shared -MMD -MP -MF $@.d -o $@ $<

# gRPC's side, from our .proto files. Generated code is compiled as it comes, without our warnings.
$(BENCH_GEN)/%.pb.cc: proto/%.proto
	$(call say,GEN)
	$(Q)mkdir -p $(BENCH_GEN)
	$(Q)protoc -Iproto --cpp_out=$(BENCH_GEN) $<

$(BENCH_GEN)/%.grpc.pb.cc: proto/%.proto
	$(call say,GEN)
	$(Q)mkdir -p $(BENCH_GEN)
	$(Q)protoc -Iproto --grpc_out=$(BENCH_GEN) --plugin=protoc-gen-grpc=$$(command -v grpc_cpp_plugin) $<

$(BENCH_GEN)/%.pb.o: $(BENCH_GEN)/%.pb.cc | $(BENCH_PB)
	$(call say,CXX)
	$(Q)$(CXX) $(CPPFLAGS) -O2 -std=c++17 -I$(BENCH_GEN) -c -o $@ $<

$(B)/tests/bench/client-grpc: tests/bench/client.cc tests/bench/measure.h $(BENCH_PB:.cc=.o)
	$(call say,CXX)
	$(Q)$(CXX) $(CPPFLAGS) -O2 -std=c++17 -Wall -Wextra -I$(BENCH_GEN) -Itests/bench -o $@ $< \
	    $(filter %.o,$^) $(LDFLAGS) -Wl,--as-needed $$(pkg-config --libs grpc++ protobuf)

# What it builds and shows: tools/small --help. --check compares with what is recorded.
small:
	@tools/deps small
	@$(MAKE) --no-print-directory server tool
	@tools/small --check

clean:
	rm -rf build
