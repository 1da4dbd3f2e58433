// Package firewall is the only one that speaks nftables: [plan.Rules] come in, and sets and maps of lanhook's own tables
// are changed, each time in one transaction.
//
// What packets go through is fixed: table.go says what a table is, inet.go and bridge.go which chains, rules and sets
// there are. What containers come and go with are elements of the sets, compiled from the rules of their records, so that
// a packet's cost does not grow with their number:
//
//	[]plan.AddRules ─► compile ─► model ─► Add, Delete: some elements
//	                                   ├─► Renew: tables, chains, rules and all elements
//	                                   └─► Drift: what the kernel has beside it
//
// Nothing else of nftables is ever touched, and of lanhook's tables nothing whose name begins with admin.
package firewall
