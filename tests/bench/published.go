//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	// containerPort is the port of the container's that a published one goes to.
	containerPort = 80
	// firstPort is the first that a container may be given, below those that hosts choose for themselves.
	firstPort, portCount = 10000, 20000
	// manyPorts are the published ports that are there in the scene many, portsEach of one container.
	manyPorts, portsEach = 1000, 100
	// echoPort is the published port of the container that answers, and flows is how often it is asked.
	echoPort, flows = 9999, 5000
)

// What is measured of the packets.
const flowOp = "flow"

// The words by which the program calls itself again, for both ends of a flow.
const (
	roleEcho = "echo"
	roleFlow = "flow"
)

// port is the container's own port of the host.
func (c *container) port() int { return firstPort + c.number%portCount }

// publishing measures containers with a published port, with none and with a thousand ports there. Connections come
// last: the kernel remembers them for a while, and a detach looks through what it remembers.
func (b *bencher) publishing() error {
	b.say("a published port: none there")
	if err := b.portsAlone(b.rounds); err != nil {
		return err
	}
	b.say(fmt.Sprintf("a published port: %d there", manyPorts))
	err := b.amongPorts(func() error {
		for range b.rounds {
			if err := b.cycle(b.lanhook, published, many); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	b.say(fmt.Sprintf("%d connections to a published port", flows))
	answering, server, err := b.answering()
	if err != nil {
		return err
	}
	if err := b.flows(none); err != nil {
		return err
	}
	if err := b.amongPorts(func() error { return b.flows(many) }); err != nil {
		return err
	}
	err = server.Kill()
	if _, waitErr := server.Wait(); err != nil || waitErr != nil {
		return fmt.Errorf("end the server in a container: %w", errors.Join(err, waitErr))
	}
	return b.clear(0, answering)
}

// amongPorts runs what is measured while a thousand ports are published.
func (b *bencher) amongPorts(run func() error) error {
	s, err := b.measure(b.host, b.lanhook.command(b.host, "ls", "--json"))
	if err != nil {
		return err
	}
	var before []listed
	if err := json.Unmarshal(s.out[0], &before); err != nil {
		return fmt.Errorf("read what lanhook ls says: %w", err)
	}
	crowd, err := b.newContainers(manyPorts / portsEach)
	if err != nil {
		return err
	}
	for i, c := range crowd {
		from, to := firstPort+portCount+i*portsEach, firstPort+portCount+(i+1)*portsEach-1
		ports := fmt.Sprintf("%d-%d:%d-%d", from, to, 1000, 1000+portsEach-1)
		if _, err := b.measure(b.host, b.lanhook.publish(b.host, c, ports)); err != nil {
			return err
		}
	}
	if err := run(); err != nil {
		return err
	}
	return b.clear(len(before), crowd...)
}

// clear ends containers and has gc take back what they had; so many are left.
func (b *bencher) clear(left int, list ...*container) error {
	if err := b.end(list...); err != nil {
		return err
	}
	if _, err := b.measure(b.host, b.lanhook.command(b.host, "gc")); err != nil {
		return err
	}
	return b.expect(left)
}

// portsAlone measures all who publish ports. Each has one container there, so that all find theirs made: bridge, tables
// and chains.
func (b *bencher) portsAlone(rounds int) error {
	all := []contender{b.lanhook, netavark{}, &cni{}}
	residents, err := b.newContainers(len(all))
	if err != nil {
		return err
	}
	for i, p := range all {
		s, err := b.carryOut(p, add, residents[i], published)
		if err != nil {
			return err
		}
		residents[i].told = s.out[0]
	}
	for round := range rounds {
		if err := b.turns(round, published, none, all); err != nil {
			return err
		}
	}
	for i, p := range all {
		if p.late() {
			if err := b.end(residents[i]); err != nil {
				return err
			}
		}
		if _, err := b.carryOut(p, del, residents[i], published); err != nil {
			return err
		}
		if !p.late() {
			if err := b.end(residents[i]); err != nil {
				return err
			}
		}
	}
	return b.expect(0)
}

// The two calls of a contender, in CNI's words.
const (
	add = "ADD"
	del = "DEL"
)

// carryOut measures one call. CNI has a chain of plugins, which an engine calls one after the other: its time is their
// sum.
func (b *bencher) carryOut(p contender, verb string, c *container, d driver) (sample, error) {
	if plugins, ok := p.(*cni); ok && d == published {
		return b.chain(plugins, verb, c)
	}
	if verb == add {
		return b.measure(b.host, p.attach(b.host, c, d))
	}
	return b.measure(b.host, p.detach(b.host, c, d))
}

// chain calls CNI's plugins as libcni does: each gets what the one before has answered, and at the end all get, in the
// reverse order, what the last one had.
func (b *bencher) chain(p *cni, verb string, c *container) (sample, error) {
	configs := p.chain(b.host, c)
	if verb == del {
		slices.Reverse(configs)
	}
	told := c.told
	var sum sample
	for _, one := range configs {
		if len(told) > 0 {
			one.text = strings.TrimSuffix(one.text, "}") + `,"prevResult":` + string(told) + "}"
		}
		s, err := b.measure(b.host, command{
			argv: []string{filepath.Join(cniFolder, one.plugin)}, env: cniEnvironment(verb, c), stdin: []byte(one.text),
		})
		if err != nil {
			return sample{}, err
		}
		if verb == add {
			told = s.out[0]
		}
		sum.wall, sum.cpu, sum.memory = sum.wall+s.wall, sum.cpu+s.cpu, max(sum.memory, s.memory)
	}
	sum.out = [][]byte{told}
	return sum, nil
}

// pluginConfig is what one plugin of a chain is told.
type pluginConfig struct{ plugin, text string }

// chain is what engines write for a bridge with published ports.
func (*cni) chain(h *host, c *container) []pluginConfig {
	const head = `{"cniVersion":"1.0.0","name":"published","type":%q`
	return []pluginConfig{
		{"bridge", fmt.Sprintf(head, "bridge") + `,"bridge":"cni1","isGateway":true,"ipMasq":true,"ipam":{"type":"host-local",` +
			`"dataDir":"` + filepath.Join(h.dir, "cni") + `","ranges":[[{"subnet":"10.73.0.0/16","rangeStart":"10.73.32.1",` +
			`"rangeEnd":"10.73.47.254","gateway":"10.73.0.1"}]],"routes":[{"dst":"0.0.0.0/0"}]}}`},
		{"portmap", fmt.Sprintf(head, "portmap") + fmt.Sprintf(`,"runtimeConfig":{"portMappings":[{"hostPort":%d,`+
			`"containerPort":%d,"protocol":"tcp"}]}}`, c.port(), containerPort)},
		{"firewall", fmt.Sprintf(head, "firewall") + `}`},
	}
}

// answering attaches a container in which a server answers on a published port.
func (b *bencher) answering() (*container, *os.Process, error) {
	c, err := b.newContainer()
	if err != nil {
		return nil, nil, err
	}
	if _, err = b.measure(b.host, b.lanhook.publish(b.host, c, fmt.Sprintf("%d:%d/udp", echoPort, containerPort))); err != nil {
		return nil, nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	ready, tell, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	defer ready.Close()
	server, err := os.StartProcess("/usr/bin/nsenter", []string{"nsenter", "--net=" + c.netns(), self, roleEcho},
		&os.ProcAttr{Files: []*os.File{b.held, tell, os.Stderr}})
	if err = errors.Join(err, tell.Close()); err != nil {
		return nil, nil, fmt.Errorf("start a server in a container: %w", err)
	}
	if _, err = ready.Read(make([]byte, 1)); err != nil {
		return nil, nil, fmt.Errorf("wait for the server in a container: %w", err)
	}
	return c, server, nil
}

// flows measures connections to a published port, each of which goes through the rules anew.
func (b *bencher) flows(scene string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	for range b.rounds {
		s, err := b.measure(b.host, command{
			argv: []string{self, roleFlow, fmt.Sprintf("10.66.0.1:%d", echoPort), strconv.Itoa(flows)},
		})
		if err != nil {
			return err
		}
		b.add(what{published, flowOp, scene, b.lanhook.name()}, s)
	}
	return nil
}

// echo answers what comes, until its standard input ends.
func echo(stdin io.Reader, stdout io.Writer) error {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{Port: containerPort})
	if err != nil {
		return err
	}
	if _, err = stdout.Write([]byte{'.'}); err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(io.Discard, stdin) //nolint:errcheck // its end is all that counts
		_ = conn.Close()
	}()
	buffer := make([]byte, 64)
	for {
		n, from, err := conn.ReadFromUDP(buffer)
		if err != nil {
			return nil //nolint:nilerr // it was closed: the bench has ended
		}
		if _, err := conn.WriteToUDP(buffer[:n], from); err != nil {
			return err
		}
	}
}

// ask makes count connections after each other, and has an answer on each. Plain calls take less time than package net.
func ask(to string, count int) error {
	addr, err := net.ResolveUDPAddr("udp4", to)
	if err != nil {
		return err
	}
	peer := &syscall.SockaddrInet4{Port: addr.Port, Addr: [4]byte(addr.IP.To4())}
	for i := range count {
		if err := askOnce(peer, byte(i)); err != nil {
			return fmt.Errorf("connection %d of %d to %s: %w", i+1, count, to, err)
		}
	}
	return nil
}

func askOnce(peer syscall.Sockaddr, word byte) error {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer syscall.Close(fd)
	wait := syscall.NsecToTimeval(time.Second.Nanoseconds())
	if err := syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &wait); err != nil {
		return err
	}
	if err := syscall.Connect(fd, peer); err != nil {
		return err
	}
	if _, err := syscall.Write(fd, []byte{word}); err != nil {
		return err
	}
	var answer [2]byte
	n, err := syscall.Read(fd, answer[:])
	for errors.Is(err, syscall.EINTR) { // Go's scheduler sends signals.
		n, err = syscall.Read(fd, answer[:])
	}
	if err != nil {
		return err
	}
	if n != 1 || answer[0] != word {
		return fmt.Errorf("the answer is %v, not %d", answer[:n], word)
	}
	return nil
}
