// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Which process of this host a TCP connection belongs to.
 *
 * connect and bind run in the process that calls them, but know only one end, or no port yet; sock_ops knows both ends, but
 * runs wherever the packet is handled. The socket's cookie joins them. A connection that is accepted belongs to whoever
 * bound the port it came in on.
 */
#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define AF_INET 2
#define AF_INET6 10
#define SOCK_STREAM 1

/* `struct Owner` of engine/src/live/bpf/process.rs. */
struct owner {
	__u64 cgroup;
	__u32 process; /* thread group */
	__u32 zero;
	char name[16];
};

/* Addresses in network order, IPv4 mapped into IPv6; ports in host order. */
struct connection {
	__u32 local[4];
	__u32 remote[4];
	__u16 local_port;
	__u16 remote_port;
	__u32 zero;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64); /* cookie */
	__type(value, struct owner);
} sockets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32); /* port bound */
	__type(value, struct owner);
} ports SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct connection);
	__type(value, struct owner);
} connections SEC(".maps");

static __always_inline void current(struct owner *owner)
{
	owner->cgroup = bpf_get_current_cgroup_id();
	owner->process = bpf_get_current_pid_tgid() >> 32;
	bpf_get_current_comm(owner->name, sizeof(owner->name));
}

static __always_inline int note_socket(struct bpf_sock_addr *ctx)
{
	if (ctx->type == SOCK_STREAM) {
		struct owner owner = {};
		__u64 cookie = bpf_get_socket_cookie(ctx);
		current(&owner);
		bpf_map_update_elem(&sockets, &cookie, &owner, BPF_ANY);
	}
	return 1;
}

static __always_inline int note_port(struct bpf_sock_addr *ctx)
{
	__u32 port = bpf_ntohs((__u16)ctx->user_port);

	if (ctx->type == SOCK_STREAM && port != 0) {
		struct owner owner = {};
		current(&owner);
		bpf_map_update_elem(&ports, &port, &owner, BPF_ANY);
	}
	return 1;
}

SEC("cgroup/connect4")
int connect4(struct bpf_sock_addr *ctx)
{
	return note_socket(ctx);
}

SEC("cgroup/connect6")
int connect6(struct bpf_sock_addr *ctx)
{
	return note_socket(ctx);
}

SEC("cgroup/bind4")
int bind4(struct bpf_sock_addr *ctx)
{
	return note_port(ctx);
}

SEC("cgroup/bind6")
int bind6(struct bpf_sock_addr *ctx)
{
	return note_port(ctx);
}

SEC("sockops")
int socket_event(struct bpf_sock_ops *ctx)
{
	struct connection connection = {};
	struct owner *owner;

	if (ctx->op == BPF_SOCK_OPS_TCP_CONNECT_CB) {
		__u64 cookie = bpf_get_socket_cookie(ctx);
		owner = bpf_map_lookup_elem(&sockets, &cookie);
	} else if (ctx->op == BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB) {
		__u32 port = ctx->local_port;
		owner = bpf_map_lookup_elem(&ports, &port);
	} else {
		return 1;
	}
	if (!owner)
		return 1;
	if (ctx->family == AF_INET) {
		connection.local[2] = bpf_htonl(0xffff);
		connection.local[3] = ctx->local_ip4;
		connection.remote[2] = bpf_htonl(0xffff);
		connection.remote[3] = ctx->remote_ip4;
	} else if (ctx->family == AF_INET6) {
		connection.local[0] = ctx->local_ip6[0];
		connection.local[1] = ctx->local_ip6[1];
		connection.local[2] = ctx->local_ip6[2];
		connection.local[3] = ctx->local_ip6[3];
		connection.remote[0] = ctx->remote_ip6[0];
		connection.remote[1] = ctx->remote_ip6[1];
		connection.remote[2] = ctx->remote_ip6[2];
		connection.remote[3] = ctx->remote_ip6[3];
	} else {
		return 1;
	}
	connection.local_port = ctx->local_port;
	/* In network order, and in the upper half on little-endian machines. */
	connection.remote_port = bpf_ntohl(ctx->remote_port);
	bpf_map_update_elem(&connections, &connection, owner, BPF_ANY);
	return 1;
}

char _license[] SEC("license") = "Dual MIT/GPL";
