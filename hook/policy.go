package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/lanhook/lanhook/policy"
)

func (a *app) policyCmd() *command {
	check := &command{
		use:   "check",
		short: "Check the policy and print all that is wrong with it at once",
		long: `Check the policy's files: who owns them, and what they say. All errors are printed at once, one a line with file,
line and column; then warnings about what is valid but probably not meant.`,
		run: func(context.Context, []string) error { return a.policyCheck() },
	}
	show := &command{
		use:   "show",
		short: "Show the policy as lanhook understands it, defaults filled in",
		run: func(context.Context, []string) error {
			p, err := policy.Load(a.policy)
			if err != nil {
				return err
			}
			return a.printJSON(p.View())
		},
	}
	return group("policy", "Check and show the administrator's policy", check, show)
}

type checkView struct {
	Files    []string      `json:"files"`
	Networks int           `json:"networks"`
	Rules    int           `json:"rules"`
	Errors   []findingView `json:"errors"`
	Warnings []findingView `json:"warnings"`
}

type findingView struct {
	File   string `json:"file"`
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
	Text   string `json:"text"`
	Hint   string `json:"hint,omitempty"`
}

func (a *app) policyCheck() error {
	p, err := policy.Load(a.policy)
	v := checkView{Files: []string{}, Errors: []findingView{}, Warnings: []findingView{}}
	var all policy.Errors
	if err != nil && !errors.As(err, &all) {
		return err
	}
	for _, e := range all {
		v.Errors = append(v.Errors, findingView{e.File, e.Line, e.Col, e.Msg, e.Hint})
	}
	if p != nil {
		v.Files, v.Networks, v.Rules = p.Files, len(p.Networks), len(p.Rules)
		for _, w := range p.Warnings() {
			v.Warnings = append(v.Warnings, findingView{File: w.File, Line: w.Line, Column: w.Col, Text: w.Msg})
		}
	}
	if a.json {
		if err := a.printJSON(v); err != nil {
			return err
		}
	} else {
		a.printFindings(v)
	}
	if len(v.Errors) > 0 {
		return &quietError{exitFailed}
	}
	return nil
}

// printFindings writes what is wrong to stderr and what is right to stdout.
func (a *app) printFindings(v checkView) {
	for _, e := range v.Errors {
		fmt.Fprintln(a.stderr, &policy.Error{File: e.File, Line: e.Line, Col: e.Column, Msg: e.Text})
		if e.Hint != "" {
			fmt.Fprintf(a.stderr, "    hint: %s\n", e.Hint)
		}
	}
	for _, w := range v.Warnings {
		fmt.Fprintln(a.stderr, &policy.Error{File: w.File, Line: w.Line, Col: w.Column, Msg: "warning: " + w.Text})
	}
	if len(v.Errors) > 0 {
		fmt.Fprintf(a.stderr, "%s; every request is refused until the policy is mended\n", count(len(v.Errors), "error"))
		return
	}
	fmt.Fprintf(a.stdout, "%s, %s, %s: good, %s\n", count(len(v.Files), "file"), count(v.Networks, "network"),
		count(v.Rules, "rule"), count(len(v.Warnings), "warning"))
}
