//go:build ignore

// The least that a Go program can do: what lanhook has to spend before its first line runs.
package main

func main() {}
