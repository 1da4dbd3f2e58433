package request

import (
	"fmt"
	"slices"
	"sort"
	"strings"
	"unicode/utf8"
)

// Parse is [ParseFor] where it is not known which engine made the container.
func Parse(annotations map[string]string) (Request, error) { return ParseFor("", annotations) }

// ParseFor reads the annotations of a container; those that are not [Ours] are passed over. It touches nothing,
// and the same annotations give the same request. engine is the name of who made the container, as the policy matches
// it, "" for unknown: what the annotations leave open is another thing with [Docker].
//
// Its error joins one [*Error] for each mistake, in key order, up to [MaxErrors] of them; see [Errors].
func ParseFor(engine string, annotations map[string]string) (Request, error) {
	var keys []string
	for key := range annotations {
		if Ours(key) {
			keys = append(keys, key)
		}
	}
	if len(keys) > MaxAnnotations {
		return Request{}, join([]*Error{{
			Key:    Prefix + "*",
			Reason: fmt.Sprintf("a container can have at most %d of these, this has %d", MaxAnnotations, len(keys)),
		}})
	}
	slices.Sort(keys)
	p := parser{open: openOf(engine)}
	for _, key := range keys {
		if name, there := strings.CutPrefix(key, `"`); there {
			p.fail(name, &Error{
				Reason: "there is a double quote before its name: the engine takes none away",
				hint:   "leave out the double quotes; only podman 4 wants them",
			})
			continue
		}
		p.annotation(key, annotations[key])
	}
	p.cutOff(annotations)
	p.together(annotations)
	if len(p.errs) > 0 {
		return Request{}, join(p.errs)
	}
	all := p.req.Attachments
	sort.Slice(all, func(i, j int) bool {
		if all[i].Key == keyNetwork || all[j].Key == keyNetwork {
			return all[i].Key == keyNetwork
		}
		return compareIfNames(all[i].IfName, all[j].IfName) < 0
	})
	return p.req, nil
}

// cutOff refuses fields of an attachment that stand beside it as annotations: podman 4 takes --annotation apart at commas,
// and what a container asked for must not be lost without a word.
func (p *parser) cutOff(annotations map[string]string) {
	if len(p.networks) == 0 {
		return
	}
	for _, field := range []string{"ip", "mac", "mtu", "gateway", "route", "default-route", "dnat", "sysctl"} {
		if value, there := annotations[field]; there {
			p.fail(p.networks[0], &Error{
				Field:  field,
				Value:  value,
				Reason: "this stands as an annotation of its own: the engine cut it off at the comma",
				hint:   "podman 4 wants double quotes within: --annotation '\"" + p.networks[0] + "=lan," + field + "=…\"'",
			})
		}
	}
}

// parser gathers a request and all that is wrong with it.
type parser struct {
	open open
	req  Request
	// networks are the keys that ask for an attachment, right or wrong.
	networks []string
	errs     []*Error
}

func (p *parser) fail(key string, errs ...*Error) {
	for _, e := range errs {
		if e != nil {
			e.Key = key
			p.errs = append(p.errs, e)
		}
	}
}

func (p *parser) annotation(key, value string) {
	ifName, isNetwork := p.open.ifName, key == keyNetwork
	if name, ok := strings.CutPrefix(key, keyNetwork+"."); ok {
		ifName, isNetwork = name, true
	}
	if isNetwork {
		p.networks = append(p.networks, key)
		if why := badIfName(ifName); why != "" {
			p.fail(key, &Error{Reason: why})
			return
		}
	}
	if e := checkText(value); e != nil && (isNetwork || p.knows(key)) {
		p.fail(key, e)
		return
	}
	if isNetwork {
		at, errs := parseAttachment(value)
		at.Key, at.IfName = key, ifName
		if !at.DefaultRoute.Set && p.open.noDefaultRoute {
			at.DefaultRoute.Set = true
		}
		p.fail(key, errs...)
		p.req.Attachments = append(p.req.Attachments, at)
		return
	}
	p.single(key, value)
}

// single reads an annotation that is not an attachment.
func (p *parser) single(key, value string) {
	var errs []*Error
	switch key {
	case keyPublish:
		p.req.Publish, errs = parsePublish(value)
	case keyName:
		p.req.Name = value
		errs = append(errs, checkWorkload(value))
	case keyNetNS:
		p.req.NetNS = value
		errs = append(errs, checkNetNS(value))
	case keyHostname:
		p.req.Hostname = value
		errs = append(errs, checkHostname(value))
	case keyDNS:
		p.req.DNS, errs = parseList(value, parseDNS)
	case keyDNSSearch:
		p.req.DNSSearch, errs = parseList(value, parseDNSSearch)
	case keyDNSOption:
		p.req.DNSOption, errs = parseList(value, parseDNSOption)
	case keyAddHost:
		p.req.AddHost, errs = parseList(value, parseAddHost)
	default:
		errs = append(errs, &Error{Reason: "there is no such annotation", hint: nearKey(key)})
	}
	p.fail(key, errs...)
}

// knows says whether key, which is not an attachment's, is one of ours.
func (p *parser) knows(key string) bool { return slices.Contains(keyNames(), key) }

// nearKey is the hint that suggests the key of ours that an unknown one was meant to be, "" when none is near.
func nearKey(key string) string {
	// Without the prefix, which all have, and what may be an interface's name.
	first, rest, dotted := strings.Cut(strings.TrimPrefix(key, Prefix), ".")
	var known []string
	for _, name := range keyNames() {
		known = append(known, strings.TrimPrefix(name, Prefix))
	}
	near, ok := Nearest(first, known)
	switch {
	case !ok:
		return "there are " + strings.Join(known, ", ") + ", each behind " + Prefix
	case dotted && Prefix+near == keyNetwork && badIfName(rest) == "":
		return "did you mean " + keyNetwork + "." + rest + "?"
	}
	return "did you mean " + Prefix + near + "?"
}

// keyNames are the keys without the one that has a placeholder.
func keyNames() []string {
	var names []string
	for _, k := range Keys() {
		if !strings.Contains(k.Name, placeholder) {
			names = append(names, k.Name)
		}
	}
	return names
}

// together checks what single annotations cannot know of each other.
func (p *parser) together(annotations map[string]string) {
	if named := keyNetwork + "." + p.open.ifName; slices.Contains(p.networks, keyNetwork) && slices.Contains(p.networks, named) {
		p.fail(named, &Error{
			Reason: keyNetwork + " asks for the interface " + p.open.ifName + " too",
			hint:   "give one of them another interface name",
		})
	}
	if n := len(p.networks); n > MaxAttachments {
		p.fail(p.networks[MaxAttachments], &Error{
			Reason: fmt.Sprintf("a container can have at most %d attachments, this asks for %d", MaxAttachments, n),
		})
	}
	p.member(annotations)
	_, publish := annotations[keyPublish]
	mode, netns := annotations[keyNetNS]
	switch {
	case netns && len(p.networks) > 0:
		p.fail(keyNetNS, &Error{
			Value:  mode,
			Reason: "this cannot go together with " + p.networks[0] + ", which asks for an interface of the container's own",
			hint:   "leave one of the two out",
		})
	case netns && publish:
		p.fail(keyNetNS, &Error{
			Value:  mode,
			Reason: "this cannot go together with " + keyPublish + ": there is no interface of the container's own to publish",
			hint:   "leave one of the two out",
		})
	case publish && len(p.networks) == 0:
		p.fail(keyPublish, &Error{
			Reason: "no annotation asks for an interface to publish",
			hint:   "add " + keyNetwork + "=NETWORK",
		})
	}
}

// member refuses what a container in another one's network namespace cannot have of its own: as under Docker, it reads
// the other one's hosts and resolv.conf.
func (p *parser) member(annotations map[string]string) {
	mode := annotations[keyNetNS]
	if !strings.HasPrefix(mode, "container:") {
		return
	}
	for _, key := range []string{keyHostname, keyDNS, keyDNSSearch, keyDNSOption, keyAddHost} {
		if _, there := annotations[key]; there {
			p.fail(keyNetNS, &Error{
				Value:  mode,
				Reason: "this cannot go together with " + key + ": the container has the names of the one that it joins",
				hint:   "leave one of the two out",
			})
			return
		}
	}
}

// checkText refuses values that no annotation may have. Line breaks and tabs are left to the forms: JSON may have them.
func checkText(value string) *Error {
	switch {
	case strings.TrimSpace(value) == "":
		return &Error{Reason: "the value is empty", hint: "leave the annotation out to ask for nothing"}
	case len(value) > MaxValue:
		return &Error{Reason: fmt.Sprintf("the value has %d bytes, at most %d are taken", len(value), MaxValue)}
	case !utf8.ValidString(value):
		return &Error{Value: value, Reason: "the value is not UTF-8"}
	}
	return nil
}

// Empty says whether the request asks for nothing at all. A workload's name alone asks for nothing.
func (r Request) Empty() bool {
	return len(r.Attachments) == 0 && len(r.Publish) == 0 && len(r.ShimOnly()) == 0
}

// ShimOnly are the keys of the annotations that only a shim can serve, since they need an edit of the container's
// configuration before it is created. Where no shim took part, the hook refuses a request that has any.
func (r Request) ShimOnly() []string {
	var keys []string
	for _, k := range []struct {
		name  string
		asked bool
	}{
		{keyNetNS, r.NetNS != ""},
		{keyHostname, r.Hostname != ""},
		{keyDNS, len(r.DNS) > 0},
		{keyDNSSearch, len(r.DNSSearch) > 0},
		{keyDNSOption, len(r.DNSOption) > 0},
		{keyAddHost, len(r.AddHost) > 0},
	} {
		if k.asked {
			keys = append(keys, k.name)
		}
	}
	return keys
}
