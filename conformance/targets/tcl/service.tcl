# The conformance service: methods by which a tester drives this peer ("The target contract").

namespace eval service {
    variable sinks {}    ;# key -> list of tagged values
    variable tokens {}   ;# key -> how many are kept
    variable waiters {}  ;# {token KEY} or {sink KEY} -> coroutines that wait there
    variable connections 0
    variable claims {
        profiles {
            core caller streaming callbacks inspect middleware
            tracing authentication policy deadline transactions
        }
        roles {acceptor initiator}   transports {stdio tcp}
        framings {length newline}    codecs {json}
    }
    # method -> how it is registered
    variable methods {
        describe value  echo value  sum channel  count channel  pipe channel  take channel
        fail value  fail_after channel  crash channel  hold channel  release value  sink value
        sunk value  call channel  offer value  register value  unregister value  inspect value
        close channel  whoami channel  enlist value  commit value  rollback value
    }
}

proc service::install {} {
    variable methods
    dict for {name kind} $methods {
        rpc::register conformance.$name $kind ::service::$name
    }
}

# --- arguments

proc service::unfit {} {
    throw [list DUPLEX error $channel::unfit] "the payload does not fit"
}

# A member of a payload, which has to be of a kind; without a default it has to be there.
proc service::arg {payload name kind args} {
    if {[lindex $payload 0] ne "o"} { unfit }
    set value [message::member [lindex $payload 1] $name]
    if {$value eq "z" && [llength $args]} { return [lindex $args 0] }
    if {[lindex $value 0] ne $kind} { unfit }
    if {$kind eq "n" && ![message::isInteger [lindex $value 1]]} { unfit }
    return [lindex $value 1]
}

proc service::errorArg {payload} {
    set error [list [arg $payload code n] [arg $payload message s]]
    return [lappend error [message::member [lindex $payload 1] data]]
}

proc service::key {payload} {
    lassign $payload kind key
    if {$kind ne "s"} { unfit }
    return $key
}

proc service::strings {list} {
    return [list a [lmap text $list { list s $text }]]
}

# --- sinks and tokens, which outlive connections

proc service::record {key value} {
    variable sinks
    dict lappend sinks $key $value
    wake [list sink $key] end
}

proc service::addToken {key} {
    variable tokens
    dict incr tokens $key
    wake [list token $key] 0
}

# Wakes who waits for this, from the first up to the place `last`.
proc service::wake {what last} {
    variable waiters
    if {![dict exists $waiters $what]} { return }
    set names [dict get $waiters $what]
    dict set waiters $what [lreplace $names 0 $last]
    foreach name [lrange $names 0 $last] { sched::wake $name }
}

proc service::await {what} {
    variable waiters
    dict lappend waiters $what [info coroutine]
    sched::pause
    # Woken for another reason, it must not stay in the list.
    set names [lsearch -all -inline -not -exact [dict get $waiters $what] [info coroutine]]
    if {[llength $names]} { dict set waiters $what $names } else { dict unset waiters $what }
}

# Takes a token as soon as there is one; false if `until` came true before.
proc service::takeToken {key until} {
    variable tokens
    while 1 {
        if {[{*}$until]} { break }
        if {[dict exists $tokens $key]} {
            dict incr tokens $key -1
            if {![dict get $tokens $key]} { dict unset tokens $key }
            return 1
        }
        await [list token $key]
    }
    # A token that this one was woken for is the next one's.
    if {[dict exists $tokens $key]} { wake [list token $key] 0 }
    return 0
}

# --- core

proc service::describe {ch payload} {
    variable claims
    set map [dict create contract {n 1} name {s duplex-tcl} version {s 0.1.0} language {s Tcl}]
    dict for {name values} $claims { dict set map $name [strings $values] }
    dict set map limits [list o [dict map {name number} $rpc::limits { list n $number }]]
    return [list o $map]
}

proc service::echo {ch payload} {
    return $payload
}

proc service::fail {ch payload} {
    throw [list DUPLEX error [errorArg $payload]] "as asked for"
}

proc service::crash {ch} {
    set payload [$ch value]
    set text [arg $payload text s ""]
    countTo $ch [arg $payload after n 0]
    error $text
}

proc service::hold {ch} {
    set key [key [$ch value]]
    if {[takeToken $key [list $ch gone]]} {
        $ch last [list s $key]
    } else {
        record $key {s closed}
    }
}

proc service::release {ch payload} {
    addToken [key $payload]
    return z
}

proc service::sink {ch payload} {
    record [arg $payload key s] [message::member [lindex $payload 1] value]
    return z
}

proc service::sunk {ch payload} {
    variable sinks
    set key [arg $payload key s]
    set n [arg $payload n n]
    while {![dict exists $sinks $key] || [llength [dict get $sinks $key]] < $n} {
        if {$n <= 0} { return {a {}} }
        if {[$ch gone]} { throw {DUPLEX late} "nobody waits" }
        await [list sink $key]
    }
    return [list a [dict get $sinks $key]]
}

proc service::register {ch payload} {
    set name [arg $payload name s]
    if {[catch { rpc::register $name value ::service::echo }]} { unfit }
    return z
}

proc service::unregister {ch payload} {
    set name [arg $payload name s]
    rpc::unregister $name
    [$ch connection] release $name
    return z
}

# --- streams

proc service::countTo {ch n} {
    for {set i 1} {$i <= $n} {incr i} { $ch send [list n $i] }
}

proc service::sum {ch} {
    set total 0
    while {[lindex [set event [$ch arg]] 0] eq "item"} {
        lassign [lindex $event 1] kind number
        if {$kind ne "n"} { unfit }
        set total [expr {$total + $number}]
    }
    $ch last [list n $total]
}

# The last number is known, so it goes out on the last frame.
proc service::count {ch} {
    set n [arg [$ch value] n n]
    if {$n <= 0} { return }
    countTo $ch [expr {$n - 1}]
    $ch last [list n $n]
}

proc service::pipe {ch} {
    while {[lindex [set event [$ch arg]] 0] eq "item"} { $ch send [lindex $event 1] }
}

proc service::take {ch} {
    set first [$ch value]
    set n [arg $first n n]
    set trace [arg $first trace s ""]
    set items {}
    while {[llength $items] < $n} {
        set event [$ch next]
        if {$trace ne ""} { record $trace [eventValue $event] }
        if {[lindex $event 0] eq "end"} { break }
        if {[lindex $event 0] ne "item"} { $ch arg }
        lappend items [lindex $event 1]
    }
    $ch last [list a $items]
}

proc service::fail_after {ch} {
    set payload [$ch value]
    set error [errorArg $payload]
    countTo $ch [arg $payload n n 0]
    $ch fail $error
}

# --- the rest

proc service::inspect {ch payload} {
    variable connections
    set counts [[$ch connection] counts]
    dict incr counts incoming -1
    dict incr counts handlers -1
    dict set counts connections $connections
    return [list o [dict map {name count} $counts { list n $count }]]
}

proc service::close {ch} {
    $ch value
    $ch last z
    [$ch connection] close
}

proc service::offer {ch payload} {
    variable methods
    set as [arg $payload as s]
    if {$as ni {echo call}} { unfit }
    return [list s [[$ch connection] callback [dict get $methods $as] ::service::$as]]
}

# --- for the standard middlewares

proc service::whoami {ch} {
    while {[lindex [$ch arg] 0] eq "item"} {}
    set name [standard::identity $ch]
    $ch last [expr {$name eq "" ? "z" : [list s $name]}]
}

proc service::enlist {ch payload} {
    standard::enlist $ch [list service::recordText [key $payload]]
    return z
}

proc service::recordText {key text} {
    record $key [list s $text]
}

proc service::commit {ch payload} {
    standard::endUnit $ch committed
    return z
}

proc service::rollback {ch payload} {
    standard::endUnit $ch "rolled back"
    return z
}

# An event of a channel, as a value.
proc service::eventValue {event} {
    lassign $event kind content
    switch -exact -- $kind {
        item { set value $content }
        error { set value [message::errorMember $content] }
        ext { set value $content }
        default { set value {b 1} }
    }
    return [list o [dict create $kind $value]]
}
