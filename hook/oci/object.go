package oci

import "errors"

// Member is one "key": value of a JSON object, as offsets into its text.
type Member struct {
	Key string
	// Start is the key's opening quote; the value is text[Value:End].
	Start, Value, End int
}

// Members finds the members of a JSON object in the order in which they stand, for who edits one of them and leaves all
// other bytes as they are. It refuses what is no object.
func Members(text []byte) ([]Member, error) {
	if why := object(text); why != "" {
		return nil, errors.New(why)
	}
	all, err := members(text)
	if err != nil {
		return nil, err
	}
	out := make([]Member, len(all))
	for i, m := range all {
		out[i] = Member{m.key, m.start, m.value, m.end}
	}
	return out, nil
}

// One finds the member of that name. It refuses a second one, and one that differs in upper and lower case alone, which
// some programs take for the same and others do not.
func One(all []Member, name string) (Member, bool, error) {
	plain := make([]member, len(all))
	for i, m := range all {
		plain[i] = member{key: m.Key, span: span{m.Start, m.End}, value: m.Value}
	}
	m, found, err := one(plain, name)
	return Member{m.key, m.start, m.value, m.end}, found, err
}
