# What a program offers on all of its connections: its methods, and the numbers it keeps to.

namespace eval rpc {
    variable methods {}
    variable limits {
        frame 1048576          greeting_frame 32     greeting_time 10     depth 512
        open_calls 1024        draining_ids 4096     buffered_items 1024  buffered_bytes 16777216
        outbound_bytes 16777216  ext 16384           closing_time 2
    }
    # What is no limit of the book: an answer to the greeting, and how long a closed connection
    # still reads, so that the other side sees an end and no reset.
    variable answerFrame 1024
    variable lingerTime 1
}

# The nesting that `depth` allows costs two levels of procs each.
interp recursionlimit {} 5000

# kind `value`: the command gets the channel and a payload, and returns the result.
# kind `channel`: it gets the channel, and streams.
proc rpc::register {name kind command} {
    variable methods
    if {[string match _callback.* $name]} { error "names of callbacks are reserved" }
    dict set methods $name [list $kind $command]
}

proc rpc::unregister {name} {
    variable methods
    dict unset methods $name
}

proc rpc::lookup {name} {
    variable methods
    if {[dict exists $methods $name]} { return [dict get $methods $name] }
    return {}
}

proc rpc::limit {name} {
    variable limits
    return [dict get $limits $name]
}

# A version 4 UUID: the name of a callback is a secret, so the system's source makes it.
proc rpc::uuid {} {
    set source [open /dev/urandom rb]
    fconfigure $source -buffering none
    set bytes [read $source 16]
    close $source
    binary scan $bytes cu* b
    lset b 6 [expr {[lindex $b 6] & 0x0f | 0x40}]
    lset b 8 [expr {[lindex $b 8] & 0x3f | 0x80}]
    binary scan [binary format c* $b] H8H4H4H4H12 one two three four five
    return $one-$two-$three-$four-$five
}
