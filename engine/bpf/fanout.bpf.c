// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Fan-out: which of a group's sockets takes a packet.
 *
 * A symmetric hash over the innermost addresses and ports, so that both directions of a flow meet in one shard also
 * when a tunnel carries them. Fragments go where the first of their datagram went; it holds the ports.
 */
#include "layers.h"

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct fragment_key);
	__type(value, __u32);
} fragments SEC(".maps");

static __always_inline __u64 mix(__u64 x)
{
	x ^= x >> 33;
	x *= 0xff51afd7ed558ccdULL;
	x ^= x >> 33;
	x *= 0xc4ceb9fe1a85ec53ULL;
	return x ^ x >> 33;
}

static __always_inline __u64 hash_end(const struct address *address, __u16 port)
{
	return mix(mix(address->words[0]) ^ address->words[1] ^ (__u64)port << 48);
}

SEC("socket")
int fanout(struct __sk_buff *skb)
{
	struct packet p = {};
	int found = walk(skb, &p);

	if (!p.has_addresses)
		return 0;
	if (p.is_fragment && found == WALK_FRAGMENT) {
		__u32 *of_first = bpf_map_lookup_elem(&fragments, &p.fragment);
		if (of_first)
			return *of_first;
	}
	/* A sum: the same for both directions. */
	__u32 hash = (hash_end(&p.flow.source, p.flow.source_port) +
		      hash_end(&p.flow.destination, p.flow.destination_port)) >>
		     32;
	if (p.is_fragment)
		bpf_map_update_elem(&fragments, &p.fragment, &hash, BPF_ANY);
	return hash;
}

char _license[] SEC("license") = "Dual MIT/GPL";
