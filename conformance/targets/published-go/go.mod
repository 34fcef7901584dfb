module duplex-conformance-published-go

go 1.21

require github.com/progrium/duplex v0.0.0-20180405222725-d076a972fc21

require (
	github.com/google/uuid v1.6.0 // indirect
	github.com/pborman/uuid v1.2.1 // indirect
	golang.org/x/net v0.35.0 // indirect
)
