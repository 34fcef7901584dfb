#!/usr/bin/tclsh
# The conformance target: configured by its environment, driven over the wire itself.

set here [file dirname [file normalize [info script]]]
foreach part {json framing sched message rpc hooks channel connection standard service testhooks driver} {
    source -encoding utf-8 [file join $here $part.tcl]
}

namespace eval target {
    variable known {
        DUPLEX_TRANSPORT {stdio tcp}   DUPLEX_ROLE {acceptor initiator}
        DUPLEX_FRAMING {length newline}  DUPLEX_CODEC json
    }
}

# The status that says: not this configuration. Nothing has touched the wire yet.
proc target::notClaimed {why} {
    puts stderr "not implemented: $why"
    exit 89
}

proc target::setting {name} {
    variable known
    set value [expr {[info exists ::env($name)] ? $::env($name) : ""}]
    if {$value ni [dict get $known $name]} { notClaimed "$name=$value" }
    return $value
}

proc target::address {name} {
    set value [expr {[info exists ::env($name)] ? $::env($name) : ""}]
    if {![regexp {^([0-9]+(?:\.[0-9]+){3}):([0-9]{1,5})$} $value -> host port] || $port > 65535} {
        notClaimed "$name=$value"
    }
    return [list $host $port]
}

proc target::serve {in out whenOver} {
    variable role
    variable framing
    variable codec
    incr service::connections
    connection::Connection new $role $framing $codec $in $out [list target::over $whenOver]
}

proc target::over {whenOver} {
    incr service::connections -1
    {*}$whenOver
}

proc target::accept {channel host port} {
    serve $channel $channel list
}

# One session after the other, until nobody listens any more.
proc target::dial {host port} {
    if {[catch { socket $host $port } channel]} { exit 0 }
    serve $channel $channel [list after 0 [list target::dial $host $port]]
}

# On TCP, the end of standard input is the end of the program.
proc target::watchInput {} {
    fconfigure stdin -blocking 0 -translation binary
    fileevent stdin readable { read stdin; if {[eof stdin]} { exit 0 } }
}

proc target::main {} {
    variable role [setting DUPLEX_ROLE]
    variable framing [setting DUPLEX_FRAMING]
    variable codec [setting DUPLEX_CODEC]
    set transport [setting DUPLEX_TRANSPORT]
    if {$transport eq "tcp"} {
        set name [expr {$role eq "acceptor" ? "DUPLEX_LISTEN" : "DUPLEX_CONNECT"}]
        lassign [address $name] host port
    }
    service::install
    testhooks::install
    if {$transport eq "stdio"} {
        serve stdin stdout exit
    } elseif {$role eq "acceptor"} {
        set server [socket -server target::accept -myaddr $host $port]
        puts "listening $host:[lindex [fconfigure $server -sockname] 2]"
        flush stdout
        watchInput
    } else {
        watchInput
        after 0 [list target::dial $host $port]
    }
    vwait forever
}

target::main
