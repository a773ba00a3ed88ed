/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * From the network header of a packet to the TCP segment inside, looking into tunnels.
 *
 * In: a socket buffer. Out: addresses, ports and place of the segment, or why there is none. What is read here
 * must stay within what engine/src/packet reads: what only user space understands is WALK_UNKNOWN.
 */
#ifndef WEIR_LAYERS_H
#define WEIR_LAYERS_H

#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

/* Layers looked through at most. */
#define MAX_LAYERS 12

#define ETHERTYPE_IPV4 0x0800
#define ETHERTYPE_IPV6 0x86dd
#define ETHERTYPE_BRIDGED 0x6558
#define ETHERTYPE_ERSPAN 0x88be
#define ETHERTYPE_ERSPAN_III 0x22eb

#define PROTOCOL_HOP_BY_HOP 0
#define PROTOCOL_IPV4 4
#define PROTOCOL_TCP 6
#define PROTOCOL_UDP 17
#define PROTOCOL_IPV6 41
#define PROTOCOL_ROUTING 43
#define PROTOCOL_FRAGMENT 44
#define PROTOCOL_GRE 47
#define PROTOCOL_DESTINATION_OPTIONS 60
#define PROTOCOL_ETHERNET 97
#define PROTOCOL_MPLS 137

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

/* An address; IPv4 as the IPv6 address that maps it (RFC 4291 section 2.5.5.2), in network order. */
struct address {
	union {
		__u8 bytes[16];
		__u64 words[2];
	};
};

/* One direction of a flow, or the flow when the lower end stands first. Ports in host order. */
struct flow_key {
	struct address source;
	struct address destination;
	__u16 source_port;
	__u16 destination_port;
	__u32 zero;
};

/* All fragments of a datagram have this in common. */
struct fragment_key {
	struct address source;
	struct address destination;
	__u32 identification;
	__u32 protocol;
};

struct packet {
	struct flow_key flow;
	/* The outermost datagram that is a fragment. */
	struct fragment_key fragment;
	__u32 is_fragment;
	/* Addresses of a datagram were read. */
	__u32 has_addresses;
	__u32 sequence;
	__u32 flags;
	/* Where the payload begins, from the network header. */
	__u32 payload_at;
	__u32 payload_len;
};

enum walk {
	WALK_TCP,
	/* A datagram whole and readable, but not of TCP. */
	WALK_NOT_TCP,
	/* A fragment other than the first. */
	WALK_FRAGMENT,
	/* Something else: user space may know more. */
	WALK_UNKNOWN,
};

/*
 * Reads from the network header: where the link header begins, and whether there is one, depends on interface,
 * direction and kind of socket.
 */
static __always_inline int load(struct __sk_buff *skb, __u32 at, void *to, __u32 len)
{
	return bpf_skb_load_bytes_relative(skb, at, to, len, BPF_HDR_START_NET);
}

static __always_inline void map_ipv4(struct address *address, const __u8 *bytes)
{
	__builtin_memset(address->bytes, 0, 10);
	address->bytes[10] = 0xff;
	address->bytes[11] = 0xff;
	__builtin_memcpy(address->bytes + 12, bytes, 4);
}

static __always_inline __u16 be16(const __u8 *bytes)
{
	return (__u16)(bytes[0] << 8 | bytes[1]);
}

static __always_inline __u32 be32(const __u8 *bytes)
{
	return (__u32)bytes[0] << 24 | (__u32)bytes[1] << 16 | (__u32)bytes[2] << 8 | bytes[3];
}

static __always_inline void note_fragment(struct packet *p, __u32 identification, __u32 protocol)
{
	if (p->is_fragment)
		return;
	p->is_fragment = 1;
	p->fragment.source = p->flow.source;
	p->fragment.destination = p->flow.destination;
	p->fragment.identification = identification;
	p->fragment.protocol = protocol;
}

static __always_inline int tcp(struct __sk_buff *skb, __u32 at, __u32 end, struct packet *p)
{
	__u8 header[20];

	if (load(skb, at, header, sizeof(header)))
		return WALK_UNKNOWN;
	__u32 header_len = (header[12] >> 4) * 4;
	if (header_len < 20 || at + header_len > end)
		return WALK_UNKNOWN;
	p->flow.source_port = be16(header);
	p->flow.destination_port = be16(header + 2);
	p->sequence = be32(header + 4);
	p->flags = header[13];
	p->payload_at = at + header_len;
	p->payload_len = end - p->payload_at;
	return WALK_TCP;
}

/* What the number of the next layer means. */
enum number { ETHERTYPE, PROTOCOL };

static __always_inline int walk(struct __sk_buff *skb, struct packet *p)
{
	__u32 number = bpf_ntohs((__u16)skb->protocol);
	__u32 kind = ETHERTYPE;
	__u32 at = 0, end = 0;
	__u8 header[40];

	for (int depth = 0; depth < MAX_LAYERS; depth++) {
		if (kind == ETHERTYPE) {
			switch (number) {
			case 0x8100: /* 802.1Q, 802.1ad and the older numbers for stacked tags */
			case 0x88a8:
			case 0x9100:
			case 0x9200:
			case 0x9300:
				if (load(skb, at, header, 4))
					return WALK_UNKNOWN;
				number = be16(header + 2);
				at += 4;
				continue;
			case ETHERTYPE_BRIDGED:
				if (load(skb, at, header, 14))
					return WALK_UNKNOWN;
				number = be16(header + 12);
				at += 14;
				continue;
			case ETHERTYPE_IPV4: {
				if (load(skb, at, header, 20) || header[0] >> 4 != 4)
					return WALK_UNKNOWN;
				__u32 header_len = (header[0] & 15) * 4;
				__u32 total = be16(header + 2);
				__u32 fragment = be16(header + 6);
				if (header_len < 20 || total < header_len)
					return WALK_UNKNOWN;
				map_ipv4(&p->flow.source, header + 12);
				map_ipv4(&p->flow.destination, header + 16);
				p->has_addresses = 1;
				if (fragment & 0x3fff)
					note_fragment(p, be16(header + 4), header[9]);
				if (fragment & 0x1fff)
					return WALK_FRAGMENT;
				end = at + total;
				at += header_len;
				number = header[9];
				kind = PROTOCOL;
				continue;
			}
			case ETHERTYPE_IPV6: {
				if (load(skb, at, header, 40) || header[0] >> 4 != 6)
					return WALK_UNKNOWN;
				__u32 len = be16(header + 4);
				if (len == 0) /* a jumbogram, or its length is left to the card */
					return WALK_UNKNOWN;
				__builtin_memcpy(&p->flow.source, header + 8, 16);
				__builtin_memcpy(&p->flow.destination, header + 24, 16);
				p->has_addresses = 1;
				at += 40;
				end = at + len;
				number = header[6];
				kind = PROTOCOL;
				continue;
			}
			default:
				return WALK_UNKNOWN;
			}
		}
		switch (number) {
		case PROTOCOL_TCP:
			return tcp(skb, at, end, p);
		case PROTOCOL_HOP_BY_HOP:
		case PROTOCOL_ROUTING:
		case PROTOCOL_DESTINATION_OPTIONS:
			if (load(skb, at, header, 2))
				return WALK_UNKNOWN;
			number = header[0];
			at += (header[1] + 1) * 8;
			continue;
		case PROTOCOL_FRAGMENT: {
			if (load(skb, at, header, 8))
				return WALK_UNKNOWN;
			__u32 fragment = be16(header + 2);
			if (fragment & 0xfff9)
				note_fragment(p, be32(header + 4), header[0]);
			if (fragment & 0xfff8)
				return WALK_FRAGMENT;
			number = header[0];
			at += 8;
			continue;
		}
		case PROTOCOL_IPV4:
			number = ETHERTYPE_IPV4;
			kind = ETHERTYPE;
			continue;
		case PROTOCOL_IPV6:
			number = ETHERTYPE_IPV6;
			kind = ETHERTYPE;
			continue;
		case PROTOCOL_GRE: {
			if (load(skb, at, header, 4))
				return WALK_UNKNOWN;
			__u32 flags = be16(header);
			if (flags & 0x4007) /* source routing, or the version of PPTP */
				return WALK_UNKNOWN;
			at += 4;
			if (flags & 0x8000)
				at += 4;
			if (flags & 0x2000)
				at += 4;
			if (flags & 0x1000)
				at += 4;
			number = be16(header + 2);
			if (number == ETHERTYPE_ERSPAN) {
				/* Type I has no header and no sequence number. */
				if (flags & 0x1000)
					at += 8;
				number = ETHERTYPE_BRIDGED;
			} else if (number == ETHERTYPE_ERSPAN_III) {
				if (load(skb, at, header, 12))
					return WALK_UNKNOWN;
				at += header[11] & 1 ? 20 : 12;
				number = ETHERTYPE_BRIDGED;
			}
			kind = ETHERTYPE;
			continue;
		}
		case PROTOCOL_UDP: {
			if (load(skb, at, header, 8))
				return WALK_UNKNOWN;
			__u32 source = be16(header), destination = be16(header + 2);
			at += 8;
			if (destination == 4789 || destination == 8472) { /* VXLAN, and its number before that */
				if (load(skb, at, header, 8) || !(header[0] & 8))
					return WALK_UNKNOWN;
				at += 8;
				number = ETHERTYPE_BRIDGED;
			} else if (destination == 6081) { /* Geneve */
				if (load(skb, at, header, 8) || header[0] >> 6)
					return WALK_UNKNOWN;
				at += 8 + (header[0] & 0x3f) * 4;
				number = be16(header + 2);
			} else if (destination == 4790 || destination == 4754 || destination == 6635 || source == 5072 ||
				   destination == 5072 || source == 2152 || destination == 2152 || source == 3544 ||
				   destination == 3544) {
				/* VXLAN-GPE, GRE in UDP, MPLS in UDP, AYIYA, GTP-U, Teredo */
				return WALK_UNKNOWN;
			} else {
				return WALK_NOT_TCP;
			}
			kind = ETHERTYPE;
			continue;
		}
		case PROTOCOL_ETHERNET:
		case PROTOCOL_MPLS:
			return WALK_UNKNOWN;
		default:
			return WALK_NOT_TCP;
		}
	}
	return WALK_UNKNOWN;
}

/* Whether the source stands before the destination: the order in the key of a flow. */
static __always_inline int is_ordered(const struct flow_key *flow)
{
	if (flow->source.words[0] != flow->destination.words[0])
		return flow->source.words[0] < flow->destination.words[0];
	if (flow->source.words[1] != flow->destination.words[1])
		return flow->source.words[1] < flow->destination.words[1];
	return flow->source_port <= flow->destination_port;
}

#endif
