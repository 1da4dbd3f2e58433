//go:build ignore

// floor does with the kernel what lanhook does to attach and to detach a container, and nothing else: the same messages
// in the same order, each answer read before the next message goes out, and the same settings written. There is no
// policy, no choice of addresses, no record and no error text. It is what any program that attaches this way has to
// spend, and so the yardstick for lanhook. Keep it in step with netsetup/kernel.
//
// One line on standard input says what to do:
//
//	attach macvlan PID LINK ADDRESS BITS GATEWAY PARENT MAC
//	attach bridge  PID LINK ADDRESS BITS GATEWAY BRIDGE MAC
//	detach macvlan NSID
//	detach bridge  NSID LINK [BRIDGE]
//
// attach prints the number (NSID) that the host has for the container's namespace then. detach is that of a container
// whose namespace is gone; with BRIDGE it removes the bridge too, as the last container's does.

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/net_namespace.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

// From netsetup/plan and netsetup/kernel: the mark of a bridge, and the numbers that namespaces are given.
#define GROUP 0x6c68
#define NSID_BASE (1 << 30)

#define COUNT(list) (sizeof(list) / sizeof((list)[0]))

// A message while it is built, and the answer to the last one.
static union {
	struct nlmsghdr header;
	char bytes[4096];
} message;
static char answer[32768];
static size_t answered;

static void fail(const char *what, int error)
{
	fprintf(stderr, "floor: %s: %s\n", what, strerror(error));
	exit(1);
}

static void *begin(int type, int flags, size_t header)
{
	memset(&message, 0, NLMSG_SPACE(header));
	message.header.nlmsg_len = NLMSG_LENGTH(header);
	message.header.nlmsg_type = type;
	message.header.nlmsg_flags = NLM_F_REQUEST | flags;
	return NLMSG_DATA(&message.header);
}

static struct rtattr *put(int type, const void *value, size_t size)
{
	struct rtattr *a = (struct rtattr *)(message.bytes + NLMSG_ALIGN(message.header.nlmsg_len));
	a->rta_type = type;
	a->rta_len = RTA_LENGTH(size);
	if (size > 0)
		memcpy(RTA_DATA(a), value, size);
	message.header.nlmsg_len = NLMSG_ALIGN(message.header.nlmsg_len) + RTA_ALIGN(a->rta_len);
	return a;
}

static void put_number(int type, uint32_t value)
{
	put(type, &value, sizeof value);
}

static void put_text(int type, const char *text)
{
	put(type, text, strlen(text) + 1);
}

static struct rtattr *nest(int type)
{
	return put(NLA_F_NESTED | type, NULL, 0);
}

static void end(struct rtattr *a)
{
	a->rta_len = message.bytes + message.header.nlmsg_len - (char *)a;
}

// Sends the message and reads its answer to the end. Returns 0 or the kernel's error number.
static int send_message(int fd)
{
	int dump = (message.header.nlmsg_flags & NLM_F_DUMP) == NLM_F_DUMP;
	if (send(fd, &message, message.header.nlmsg_len, 0) < 0)
		fail("send", errno);
	for (;;) {
		ssize_t got = recv(fd, answer, sizeof answer, 0);
		if (got < 0)
			fail("recv", errno);
		answered = got;
		struct nlmsghdr *h = (struct nlmsghdr *)answer;
		for (int left = got; NLMSG_OK(h, left); h = NLMSG_NEXT(h, left)) {
			if (h->nlmsg_type == NLMSG_ERROR)
				return -((struct nlmsgerr *)NLMSG_DATA(h))->error;
			if (h->nlmsg_type == NLMSG_DONE || !dump)
				return 0;
		}
	}
}

static void change(int fd, const char *what)
{
	int error = send_message(fd);
	if (error)
		fail(what, error);
}

static int dial(void)
{
	int one = 1;
	struct timeval timeout = {.tv_sec = 10};
	struct sockaddr_nl address = {.nl_family = AF_NETLINK};
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0 ||
	    setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &one, sizeof one) < 0 ||
	    setsockopt(fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &one, sizeof one) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout) < 0)
		fail("open a netlink socket", errno);
	return fd;
}

static uint64_t cookie(int fd)
{
	uint64_t v = 0;
	socklen_t size = sizeof v;
	if (getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &v, &size) < 0 && errno != ENOPROTOOPT)
		fail("read the cookie of a network namespace", errno);
	return v;
}

static int open_namespace(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		fail(path, errno);
	return fd;
}

static void enter(int fd)
{
	if (setns(fd, CLONE_NEWNET) < 0)
		fail("enter a network namespace", errno);
}

// Returns the index of a link, 0 when there is none of this name.
static int find_link(int fd, const char *name)
{
	begin(RTM_GETLINK, 0, sizeof(struct ifinfomsg));
	put_number(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
	put_text(IFLA_IFNAME, name);
	int error = send_message(fd);
	if (error == ENODEV)
		return 0;
	if (error)
		fail(name, error);
	return ((struct ifinfomsg *)NLMSG_DATA((struct nlmsghdr *)answer))->ifi_index;
}

static int must_find(int fd, const char *name)
{
	int index = find_link(fd, name);
	if (index == 0)
		fail(name, ENODEV);
	return index;
}

static void list_addresses(int fd, int index)
{
	struct ifaddrmsg *m = begin(RTM_GETADDR, NLM_F_DUMP, sizeof *m);
	m->ifa_index = index;
	change(fd, "list addresses");
}

static uint32_t identify(int fd, int namespace, uint64_t namespace_cookie)
{
	begin(RTM_NEWNSID, NLM_F_ACK, sizeof(struct rtgenmsg));
	put_number(NETNSA_FD, namespace);
	put_number(NETNSA_NSID, NSID_BASE | (namespace_cookie & (NSID_BASE - 1)));
	int error = send_message(fd);
	if (error && error != EEXIST)
		fail("give the namespace a number", error);
	begin(RTM_GETNSID, 0, sizeof(struct rtgenmsg));
	put_number(NETNSA_FD, namespace);
	change(fd, "read the number of the namespace");
	struct nlmsghdr *h = (struct nlmsghdr *)answer;
	struct rtattr *a = (struct rtattr *)((char *)NLMSG_DATA(h) + NLMSG_ALIGN(sizeof(struct rtgenmsg)));
	for (int left = h->nlmsg_len - NLMSG_SPACE(sizeof(struct rtgenmsg)); RTA_OK(a, left); a = RTA_NEXT(a, left))
		if (a->rta_type == NETNSA_NSID)
			return *(uint32_t *)RTA_DATA(a);
	fail("read the number of the namespace", ENOENT);
	return 0;
}

static void put_mac(const char *text)
{
	unsigned char mac[6];
	if (sscanf(text, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", mac, mac + 1, mac + 2, mac + 3, mac + 4, mac + 5) != 6)
		fail(text, EINVAL);
	put(IFLA_ADDRESS, mac, sizeof mac);
}

static void begin_link(const char *name, const char *mac)
{
	begin(RTM_NEWLINK, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, sizeof(struct ifinfomsg));
	put_text(IFLA_IFNAME, name);
	put_mac(mac);
	put_number(IFLA_MTU, 1500);
}

static void add_macvlan(int fd, const char *name, const char *mac, int parent, int namespace)
{
	begin_link(name, mac);
	put_number(IFLA_LINK, parent);
	put_number(IFLA_NET_NS_FD, namespace);
	struct rtattr *info = nest(IFLA_LINKINFO);
	put_text(IFLA_INFO_KIND, "macvlan");
	struct rtattr *data = nest(IFLA_INFO_DATA);
	put_number(IFLA_MACVLAN_MODE, MACVLAN_MODE_BRIDGE);
	end(data);
	end(info);
	change(fd, "add a macvlan");
}

static void add_veth(int fd, const char *name, const char *mac, int bridge, int namespace)
{
	struct ifinfomsg none = {0};
	begin_link(name, "02:00:00:00:00:02");
	put_number(IFLA_MASTER, bridge);
	struct rtattr *info = nest(IFLA_LINKINFO);
	put_text(IFLA_INFO_KIND, "veth");
	struct rtattr *data = nest(IFLA_INFO_DATA);
	struct rtattr *peer = put(VETH_INFO_PEER, &none, sizeof none);
	put_text(IFLA_IFNAME, name);
	put_mac(mac);
	put_number(IFLA_MTU, 1500);
	put_number(IFLA_NET_NS_FD, namespace);
	end(peer);
	end(data);
	end(info);
	change(fd, "add a veth");
}

static void begin_up(int type, int index)
{
	struct ifinfomsg *m = begin(type, NLM_F_ACK, sizeof *m);
	m->ifi_index = index;
	m->ifi_flags = m->ifi_change = IFF_UP;
}

static void write_setting(const char *family, const char *link, const char *setting, const char *value)
{
	char path[256];
	snprintf(path, sizeof path, "/proc/sys/net/%s/conf/%s/%s", family, link, setting);
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, value, strlen(value)) < 0 || close(fd) < 0)
		fail(path, errno);
}

static int add_address(int fd, int index, in_addr_t address, int bits)
{
	struct ifaddrmsg *m = begin(RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, sizeof *m);
	in_addr_t broadcast = address | htonl(bits == 32 ? 0 : UINT32_MAX >> bits);
	m->ifa_family = AF_INET;
	m->ifa_prefixlen = bits;
	m->ifa_index = index;
	put(IFA_LOCAL, &address, sizeof address);
	put(IFA_ADDRESS, &address, sizeof address);
	put(IFA_BROADCAST, &broadcast, sizeof broadcast);
	return send_message(fd);
}

static void add_default_route(int fd, int index, in_addr_t gateway)
{
	struct rtmsg *m = begin(RTM_NEWROUTE, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, sizeof *m);
	m->rtm_family = AF_INET;
	m->rtm_protocol = RTPROT_STATIC;
	m->rtm_type = RTN_UNICAST;
	put_number(RTA_TABLE, RT_TABLE_MAIN);
	put(RTA_GATEWAY, &gateway, sizeof gateway);
	put_number(RTA_OIF, index);
	change(fd, "add the default route");
}

// As ensureBridge does: the message that makes it says too whether it was there.
static void ensure_bridge(int fd, const char *name, in_addr_t gateway, int bits)
{
	begin_link(name, "02:00:00:00:00:01");
	put_number(IFLA_GROUP, GROUP);
	struct rtattr *info = nest(IFLA_LINKINFO);
	put_text(IFLA_INFO_KIND, "bridge");
	end(info);
	int error = send_message(fd);
	if (error && error != EEXIST)
		fail("add a bridge", error);
	int index = must_find(fd, name);
	if (!error) {
		write_setting("ipv6", name, "accept_ra", "0");
		begin_up(RTM_SETLINK, index);
		change(fd, "bring the bridge up");
	}
	error = add_address(fd, index, gateway, bits);
	if (error && error != EEXIST)
		fail("add the gateway's address to the bridge", error);
	write_setting("ipv4", name, "forwarding", "1");
}

static void add_port(int fd, const char *name, const char *mac, const char *bridge, int namespace)
{
	add_veth(fd, name, mac, must_find(fd, bridge), namespace);
	int index = must_find(fd, name);
	write_setting("ipv6", name, "accept_ra", "0");
	write_setting("ipv6", name, "disable_ipv6", "1");
	begin_up(RTM_NEWLINK, index);
	change(fd, "bring the host's end up");
}

// The container's end: settings, address, name and up, default route. The calling thread is on the host.
static void finish(int fd, int namespace, int host, char **word)
{
	const char *name = word[1], *alias = "lanhook floor bench";
	enter(namespace);
	write_setting("ipv4", name, "arp_notify", "1");
	write_setting("ipv6", name, "disable_ipv6", "1");
	enter(host);
	int index = must_find(fd, name);
	int error = add_address(fd, index, inet_addr(word[2]), atoi(word[3]));
	if (error)
		fail("add the address", error);
	begin_up(RTM_SETLINK, index);
	put_text(IFLA_IFNAME, "eth0");
	put(IFLA_IFALIAS, alias, strlen(alias));
	change(fd, "name the link and bring it up");
	add_default_route(fd, index, inet_addr(word[4]));
}

// Words: PID LINK ADDRESS BITS GATEWAY PARENT-OR-BRIDGE MAC.
static void attach(int bridged, char **word)
{
	char path[64];
	int host = open_namespace("/proc/thread-self/ns/net"), outside = dial();
	cookie(outside);
	snprintf(path, sizeof path, "/proc/%s/ns/net", word[0]);
	int namespace = open_namespace(path);
	enter(namespace);
	int inside = dial();
	uint64_t id = cookie(inside);
	enter(host);

	int uplink = find_link(outside, word[5]);
	if (!bridged)
		list_addresses(outside, uplink);
	if (find_link(inside, "eth0") != 0)
		fail("eth0", EEXIST);
	uint32_t number = identify(outside, namespace, id);
	if (bridged) {
		ensure_bridge(outside, word[5], inet_addr(word[4]), atoi(word[3]));
		add_port(outside, word[1], word[6], word[5], namespace);
	} else {
		add_macvlan(outside, word[1], word[6], uplink, namespace);
	}
	finish(inside, namespace, host, word);
	printf("%u\n", number);
}

static void release_bridge(int fd, const char *name)
{
	int index = must_find(fd, name);
	begin(RTM_GETLINK, NLM_F_DUMP, sizeof(struct ifinfomsg));
	put_number(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
	put_number(IFLA_MASTER, index);
	change(fd, "list the bridge's ports");
	struct ifinfomsg *m = begin(RTM_DELLINK, NLM_F_ACK, sizeof *m);
	m->ifi_index = index;
	change(fd, "remove the bridge");
}

// Words: NSID, and for a bridge LINK and perhaps BRIDGE.
static void detach(int bridged, char **word)
{
	int host = open_namespace("/proc/thread-self/ns/net"), fd = dial();
	cookie(fd);
	if (bridged) {
		if (find_link(fd, word[1]) != 0)
			fail(word[1], EEXIST);
		if (word[2])
			release_bridge(fd, word[2]);
	} else {
		begin(RTM_GETNSID, 0, sizeof(struct rtgenmsg));
		put_number(NETNSA_NSID, strtoul(word[0], NULL, 10));
		if (send_message(fd) != ENOENT)
			fail("the namespace is not gone", EBUSY);
	}
	close(host);
}

int main(void)
{
	static char line[512];
	char *words[10] = {0}, *rest = line;
	size_t n = 0;
	ssize_t got = read(0, line, sizeof line - 1);
	if (got <= 0)
		fail("read standard input", errno);
	while (n + 1 < COUNT(words) && (words[n] = strsep(&rest, " \n")) && *words[n])
		n++;
	if (words[n] && !*words[n])
		words[n] = NULL;
	int bridged = n > 1 && strcmp(words[1], "bridge") == 0;
	if (n == 9 && strcmp(words[0], "attach") == 0)
		attach(bridged, words + 2);
	else if (n >= 3 && n <= 5 && strcmp(words[0], "detach") == 0)
		detach(bridged, words + 2);
	else
		fail("understand standard input", EINVAL);
	return 0;
}
