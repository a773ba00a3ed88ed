// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Socket filter: lets HTTP through, leaves out the rest before it is copied.
 *
 * A flow is undecided until a segment of it begins like HTTP; then all of it passes. A flow that shows none in its
 * first segments with payload is rejected, until one begins like HTTP after all (the capture began in the middle of
 * a body). Of bodies that user space does not want only the packet headers pass. What cannot be read passes.
 * Every verdict is counted, for rejected packets are not in the statistics of the socket.
 *
 * Not to be attached yet: the payload of packets that do not lie in one piece is not seen (the helper reads only the linear
 * part), so that HTTP is rejected on real rings. No command uses it.
 */
#include "layers.h"

/* Segments with payload, of both directions, after which a flow is no HTTP. */
#define PATIENCE 6
/* Bytes kept of a packet whose payload is not wanted, besides its headers: room for the link header. */
#define LINK_ROOM 64
/* A payload is cut only when that spares something. */
#define WORTH_CUTTING 256
#define WHOLE 0xffffffff
#define PROBE 32

/* The order is that of `Verdict` in engine/src/live/bpf/filter.rs. */
enum verdict {
	PASS_HTTP,
	PASS_CONTROL,
	PASS_UNDECIDED,
	PASS_UNREADABLE,
	CUT_BODY,
	REJECT_FLOW,
	REJECT_PROTOCOL,
	VERDICTS,
};

struct count {
	__u64 packets;
	__u64 bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, VERDICTS);
	__type(key, __u32);
	__type(value, struct count);
} verdicts SEC(".maps");

enum state { UNDECIDED, HTTP, REJECTED };

struct flow {
	__u32 state;
	__u32 payloads;
};

/* Written here only. Keys have the lower end first. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct flow_key);
	__type(value, struct flow);
} flows SEC(".maps");

/* Sequence numbers of a body that is not wanted. */
struct body {
	__u32 from;
	__u32 until;
};

/* Written by user space; what is through is taken out here. Keys have the sender first. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct flow_key);
	__type(value, struct body);
} bodies SEC(".maps");

static __always_inline int decide(struct __sk_buff *skb, __u32 verdict, __u32 len)
{
	struct count *count = bpf_map_lookup_elem(&verdicts, &verdict);

	if (count) {
		count->packets++;
		count->bytes += skb->len;
	}
	return len;
}

static __always_inline void reverse(struct flow_key *to, const struct flow_key *from)
{
	to->source = from->destination;
	to->destination = from->source;
	to->source_port = from->destination_port;
	to->destination_port = from->source_port;
	to->zero = 0;
}

enum looks { LIKE_HTTP, LIKE_ITS_BEGINNING, LIKE_TLS, LIKE_NOTHING };

static __always_inline int is_token(__u8 c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
	       c == '.';
}

#define WORD(a, b, c, d) ((__u32)(a) << 24 | (__u32)(b) << 16 | (__u32)(c) << 8 | (__u32)(d))

/* The first letters of methods that are believed whatever stands behind them: engine/src/http/sniff.rs. */
static __always_inline int is_method(__u32 word)
{
	switch (word) {
	case WORD('G', 'E', 'T', ' '):
	case WORD('P', 'O', 'S', 'T'):
	case WORD('H', 'E', 'A', 'D'):
	case WORD('P', 'U', 'T', ' '):
	case WORD('D', 'E', 'L', 'E'):
	case WORD('O', 'P', 'T', 'I'):
	case WORD('P', 'A', 'T', 'C'):
	case WORD('C', 'O', 'N', 'N'):
	case WORD('T', 'R', 'A', 'C'):
	case WORD('P', 'R', 'O', 'P'):
	case WORD('M', 'K', 'C', 'O'):
	case WORD('C', 'O', 'P', 'Y'):
	case WORD('M', 'O', 'V', 'E'):
	case WORD('L', 'O', 'C', 'K'):
	case WORD('R', 'E', 'P', 'O'):
		return 1;
	}
	return 0;
}

static __always_inline int probe(struct __sk_buff *skb, __u32 at, __u32 len, __u8 *b)
{
	if (len >= PROBE)
		return load(skb, at, b, PROBE);
	len &= PROBE - 1;
	if (len == 0)
		return -1;
	return load(skb, at, b, len);
}

static __always_inline int looks_like(struct __sk_buff *skb, __u32 at, __u32 len)
{
	__u8 b[PROBE] = {};
	__u32 blank = 0;

	if (probe(skb, at, len, b))
		return LIKE_NOTHING;
	/* Line ends before a request line are allowed (RFC 9112 section 2.2). */
	for (; blank < 4; blank++)
		if (b[blank] != '\r' && b[blank] != '\n')
			break;
	if (blank > 0) {
		if (len <= blank)
			return LIKE_ITS_BEGINNING;
		at += blank;
		len -= blank;
		__builtin_memset(b, 0, sizeof(b));
		if (probe(skb, at, len, b))
			return LIKE_NOTHING;
	}
	__u32 word = be32(b);
	if (word == WORD('H', 'T', 'T', 'P') && (b[4] == '/' || len == 4))
		return LIKE_HTTP;
	/* A handshake record that holds a ClientHello or a ServerHello (RFC 8446 section 5.1). */
	if (b[0] == 0x16 && b[1] == 3 && b[2] <= 4 && (b[5] == 1 || b[5] == 2) && len > 5)
		return LIKE_TLS;
	__u32 token = 0;
	for (; token < PROBE - 2; token++)
		if (!is_token(b[token]))
			break;
	/* Whatever comes in pieces this small may yet become a start line. */
	if (len < 8 && token >= len)
		return LIKE_ITS_BEGINNING;
	if (token == 0 || token >= PROBE - 2 || b[token] != ' ')
		return LIKE_NOTHING;
	if (is_method(word))
		return LIKE_HTTP;
	/* Any other method, with a target that begins like one (RFC 9112 section 3.2). */
	__u8 target = b[token + 1];
	if (b[0] >= 'A' && (target == '/' || target == '*' || target == 'h'))
		return LIKE_HTTP;
	return LIKE_NOTHING;
}

/* Whether `a` stands before `b`, modulo 2^32 (RFC 9293 section 3.4). */
static __always_inline int before(__u32 a, __u32 b)
{
	return (__s32)(a - b) < 0;
}

SEC("socket")
int http_filter(struct __sk_buff *skb)
{
	struct packet p = {};
	int found = walk(skb, &p);

	if (found == WALK_NOT_TCP && !p.is_fragment)
		return decide(skb, REJECT_PROTOCOL, 0);
	if (found != WALK_TCP || p.is_fragment)
		return decide(skb, PASS_UNREADABLE, WHOLE);

	struct flow_key key;
	if (is_ordered(&p.flow))
		key = p.flow;
	else
		reverse(&key, &p.flow);

	if (p.flags & TCP_SYN) {
		/* A new connection: what was known is of another. An answer resets only its own direction. */
		bpf_map_delete_elem(&bodies, &p.flow);
		if (!(p.flags & TCP_ACK))
			bpf_map_delete_elem(&flows, &key);
	}

	struct flow *flow = bpf_map_lookup_elem(&flows, &key);
	__u32 state = flow ? flow->state : UNDECIDED;
	if (p.payload_len > 0 && state != HTTP) {
		int looks = looks_like(skb, p.payload_at, p.payload_len);
		struct flow changed = { .state = state, .payloads = flow ? flow->payloads : 0 };
		if (looks == LIKE_HTTP)
			changed.state = HTTP;
		else if (looks == LIKE_TLS)
			changed.state = REJECTED;
		else if (state == UNDECIDED && looks == LIKE_NOTHING && ++changed.payloads > PATIENCE)
			changed.state = REJECTED;
		if (!flow) {
			bpf_map_update_elem(&flows, &key, &changed, BPF_ANY);
		} else {
			flow->state = changed.state;
			flow->payloads = changed.payloads;
		}
		state = changed.state;
	}

	if (p.flags & (TCP_SYN | TCP_FIN | TCP_RST))
		return decide(skb, PASS_CONTROL, WHOLE);
	if (state == REJECTED)
		return decide(skb, REJECT_FLOW, 0);
	if (state == UNDECIDED)
		return decide(skb, PASS_UNDECIDED, WHOLE);
	if (p.payload_len > 0) {
		struct body *body = bpf_map_lookup_elem(&bodies, &p.flow);
		if (body) {
			__u32 from = body->from, until = body->until;
			__u32 end = p.sequence + p.payload_len;
			/* Through, or left behind: numbers come round again after 4 GiB. */
			if (before(until, p.sequence) || until == p.sequence)
				bpf_map_delete_elem(&bodies, &p.flow);
			else if (!before(p.sequence, from) && !before(until, end) && p.payload_len >= WORTH_CUTTING)
				return decide(skb, CUT_BODY, p.payload_at + LINK_ROOM);
		}
	}
	return decide(skb, PASS_HTTP, WHOLE);
}

char _license[] SEC("license") = "Dual MIT/GPL";
