# The five standard middlewares, as hooks (see hooks.tcl). They keep what they know of a call until
# its end is told.

namespace eval standard {
    variable traces {}       ;# call -> the trace that it carries
    variable identities {}   ;# call -> who calls
    variable unitOf {}       ;# call -> {conn name}
    variable units {}        ;# conn -> name -> {open|ended {commands to be told}}

    variable unauthenticated {-32002 "who calls is not known"}
    variable forbidden {-32003 "not allowed"}
    variable passed {-32005 "the deadline has passed"}
    variable unitEnded {1 "the unit of work has ended"}
}

# --- tracing

proc standard::tracing {point frameVar} {
    variable traces
    upvar 1 $frameVar frame
    switch -exact -- $point {
        inbound_request - outbound_request {
            set call [dict get $frame call]
            # Later frames keep the span of the first one.
            if {[dict get $frame first]} { dict set traces $call [Span [hooks::get $frame trace]] }
            hooks::put frame trace [list s [dict get $traces $call]]
        }
        end { dict unset traces [dict get $frame call] }
    }
    return {}
}

# A traceparent with a span of its own, in the trace that came or in a new one.
proc standard::Span {value} {
    lassign $value kind came
    if {$kind ne "s"
            || ![regexp {^00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})$} $came -> trace parent flags]
            || [regexp {^0+$} $trace] || [regexp {^0+$} $parent]} {
        set trace [string map {- ""} [rpc::uuid]]
        set flags 01
    }
    # The last 16 digits of a UUID begin with its variant, and so are never all zeros.
    return 00-$trace-[string range [string map {- ""} [rpc::uuid]] 16 end]-$flags
}

# --- authentication

# `judge` turns a credential (a tagged value) into a name, or {} if it is not valid.
proc standard::authentication {judge point frameVar} {
    variable identities
    variable unauthenticated
    upvar 1 $frameVar frame
    switch -exact -- $point {
        inbound_request {
            set credential [hooks::get $frame auth]
            # Ext goes back, and along with nested calls: a credential must not.
            hooks::drop frame auth
            if {[dict get $frame first]} {
                set name [{*}$judge $credential]
                if {$name eq ""} { return [list error $unauthenticated] }
                dict set identities [dict get $frame call] $name
            }
        }
        end { dict unset identities [dict get $frame call] }
    }
    return {}
}

# Who makes this call: {} if nobody knows.
proc standard::identity {call} {
    variable identities
    return [expr {[dict exists $identities $call] ? [dict get $identities $call] : ""}]
}

# --- policy

# `allows` is asked with the frame and the identity.
proc standard::policy {allows point frameVar} {
    variable forbidden
    upvar 1 $frameVar frame
    if {$point eq "inbound_request" && ![{*}$allows $frame [identity [dict get $frame call]]]} {
        return [list error $forbidden]
    }
    return {}
}

# --- deadline

proc standard::deadline {point frameVar} {
    variable passed
    upvar 1 $frameVar frame
    switch -exact -- $point {
        inbound_request {
            set time [Time [hooks::get $frame deadline]]
            if {[dict get $frame first] && $time ne "" && $time <= [clock milliseconds]} {
                return [list error $passed]
            }
        }
        outbound_request {
            # A nested call has no more time than the call that makes it.
            set own [Time [hooks::get [dict create ext [dict get $frame inherited]] deadline]]
            set asked [Time [hooks::get $frame deadline]]
            if {$own ne "" && $asked ne "" && $asked > $own} {
                hooks::put frame deadline [list n $own]
            }
        }
    }
    return {}
}

proc standard::Time {value} {
    lassign $value kind number
    return [expr {$kind eq "n" && [message::isInteger $number] ? $number : ""}]
}

# --- transactions

proc standard::transactions {point frameVar} {
    variable unitOf
    variable units
    variable unitEnded
    upvar 1 $frameVar frame
    switch -exact -- $point {
        inbound_request {
            lassign [hooks::get $frame transaction] kind name
            if {![dict get $frame first] || $kind ne "s"} { return {} }
            set conn [dict get $frame conn]
            if {![dict exists $units $conn $name]} { dict set units $conn $name {open {}} }
            if {[lindex [dict get $units $conn $name] 0] eq "ended"} { return [list error $unitEnded] }
            dict set unitOf [dict get $frame call] [list $conn $name]
        }
        end { dict unset unitOf [dict get $frame call] }
        closed {
            # `frame` is the connection here.
            if {![dict exists $units $frame]} { return {} }
            foreach unit [dict values [dict get $units $frame]] { Tell $unit lost }
            dict unset units $frame
        }
    }
    return {}
}

# The command is called once, with how the unit of this call ended. Throws if it has none.
proc standard::enlist {call command} {
    variable units
    lassign [OpenUnit $call] conn name commands
    dict set units $conn $name [list open [linsert $commands end $command]]
}

proc standard::endUnit {call outcome} {
    variable units
    lassign [OpenUnit $call] conn name
    set unit [dict get $units $conn $name]
    dict set units $conn $name {ended {}}
    Tell $unit $outcome
}

proc standard::OpenUnit {call} {
    variable unitOf
    variable units
    variable unitEnded
    if {![dict exists $unitOf $call]} {
        throw {DUPLEX error {1 "the call names no unit of work"}} "no unit"
    }
    lassign [dict get $unitOf $call] conn name
    if {![dict exists $units $conn $name]} { throw {DUPLEX late} "the connection has ended" }
    lassign [dict get $units $conn $name] state commands
    if {$state ne "open"} { throw [list DUPLEX error $unitEnded] "ended" }
    return [list $conn $name $commands]
}

proc standard::Tell {unit outcome} {
    foreach command [lindex $unit 1] { {*}$command $outcome }
}
