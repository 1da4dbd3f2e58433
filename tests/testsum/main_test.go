package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRun(t *testing.T) {
	const oneGood = `{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:1: noise\n"}
{"Action":"pass","Package":"p","Test":"TestA","Elapsed":0}
`
	tests := []struct {
		name, in, want string
		code           int
	}{
		{
			name: "passed tests are counted, their output is not shown",
			in: oneGood + `{"Action":"output","Package":"p","Output":"PASS\n"}
{"Action":"output","Package":"p","Output":"ok  \tp\t0.003s\n"}
{"Action":"pass","Package":"p","Elapsed":0.003}
`,
			want: "ok  \tp\t0.003s\nlane: 1 passed, 0 failed, 0 skipped\n",
		},
		{
			name: "output of a failed test and of its package is shown",
			in: oneGood + `{"Action":"output","Package":"p","Output":"-test.shuffle 7\n"}
{"Action":"output","Package":"p","Test":"TestB","Output":"=== RUN   TestB\n"}
{"Action":"output","Package":"p","Test":"TestB","Output":"    b_test.go:2: got 1, want 2\n"}
{"Action":"output","Package":"p","Test":"TestB","Output":"--- FAIL: TestB (0.00s)\n"}
{"Action":"fail","Package":"p","Test":"TestB","Elapsed":0}
{"Action":"output","Package":"p","Output":"FAIL\tp\t0.003s\n"}
{"Action":"fail","Package":"p","Elapsed":0.003}
`,
			want: "    b_test.go:2: got 1, want 2\n--- FAIL: TestB (0.00s)\nFAIL\tp\t0.003s\n-test.shuffle 7\n" +
				"lane: 1 passed, 1 failed, 0 skipped\n",
			code: 1,
		},
		{
			name: "the reason of a skip is shown",
			in: oneGood + `{"Action":"output","Package":"p","Test":"TestC","Output":"    c_test.go:3: no ipvlan\n"}
{"Action":"skip","Package":"p","Test":"TestC","Elapsed":0}
`,
			want: "    c_test.go:3: no ipvlan\nlane: 1 passed, 0 failed, 1 skipped\n",
		},
		{
			name: "a package that does not compile fails the lane",
			in: oneGood + `{"ImportPath":"q [q.test]","Action":"build-output","Output":"q.go:1:1: expected 'package'\n"}
{"ImportPath":"q [q.test]","Action":"build-fail"}
{"Action":"output","Package":"q","Output":"FAIL\tq [build failed]\n"}
{"Action":"fail","Package":"q","Elapsed":0,"FailedBuild":"q [q.test]"}
`,
			want: "q.go:1:1: expected 'package'\nFAIL\tq [build failed]\nlane: 1 passed, 0 failed, 0 skipped\n",
			code: 1,
		},
		{
			name: "a line that is no JSON is passed on",
			in:   "go: warning\n" + oneGood,
			want: "go: warning\nlane: 1 passed, 0 failed, 0 skipped\n",
		},
		{
			name: "an empty lane fails",
			want: "lane: 0 passed, 0 failed, 0 skipped\nlane: no test ran\n",
			code: 1,
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var out strings.Builder
			code := run("lane", strings.NewReader(test.in), &out)
			if diff := cmp.Diff(test.want, out.String()); diff != "" {
				t.Errorf("output (-want +got):\n%s", diff)
			}
			if code != test.code {
				t.Errorf("exit code %d, want %d", code, test.code)
			}
		})
	}
}
