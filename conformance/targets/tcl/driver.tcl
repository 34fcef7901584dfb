# conformance.call: the tester says which call this peer makes, and hears what its user saw.

namespace eval driver {}

proc service::call {ch} {
    set spec [$ch value]
    set after [expr {[arg $spec when s during] eq "after"}]
    if {$after} { $ch last z }
    set events {}
    for {set i 0} {$i < [arg $spec times n 1]} {incr i} {
        lappend events {*}[driver::once $ch $spec]
    }
    if {!$after} { $ch last [list a $events] }
}

# Makes one call, and returns its events as values.
proc driver::once {ch spec} {
    set call [$ch call [service::arg $spec method s] [metadata $spec]]
    try {
        if {[service::arg $spec notify b 0]} {
            $call notify [lindex [arguments $spec] 0]
            return {}
        }
        if {[service::arg $spec single b 0]} {
            $call last [lindex [arguments $spec] 0]
            return [lmap event [$call single] { note $spec $event }]
        }
        sched::spawn driver::write $call $spec
        return [readAll $call $spec]
    } finally {
        $call destroy
    }
}

# What the handler sets on the call, by hand or for a standard middleware.
proc driver::metadata {spec} {
    set ext [service::arg $spec ext o {}]
    set within [service::arg $spec within n ""]
    if {$within ne ""} { dict set ext deadline [list n [expr {[clock milliseconds] + $within}]] }
    if {[service::arg $spec unit b 0]} { dict set ext transaction [list s [rpc::uuid]] }
    return $ext
}

proc driver::arguments {spec} {
    set args [service::arg $spec args a {z}]
    set fill [service::arg $spec fill n 0]
    if {$fill > 0} { lappend args [list s [string repeat x $fill]] }
    return $args
}

# Runs beside the reader: results may come before the arguments have ended.
proc driver::write {call spec} {
    set args [arguments $spec]
    set ends [expr {[service::arg $spec end b 0] || ![llength $args]}]
    set pace [service::arg $spec pace s ""]
    set abort [service::arg $spec abort n -1]
    set sent 0
    foreach value $args {
        if {$sent == $abort} { break }
        if {$sent && $pace ne "" && ![paced $call $pace]} { return }
        if {[gone $call]} { return }
        incr sent
        if {$sent == [llength $args] && !$ends && $sent != $abort} {
            $call last $value
            return
        }
        $call send $value
    }
    if {[gone $call]} { return }
    if {$abort >= 0} { $call abort $channel::aborted } else { $call finish }
}

proc driver::gone {call} {
    return [expr {![info object isa object $call] || [$call over]}]
}

# Waits for a token before the next item, but not longer than the call lives.
proc driver::paced {call key} {
    $call watch
    return [service::takeToken $key [list driver::gone $call]]
}

proc driver::readAll {call spec} {
    set events {}
    set pace [service::arg $spec read s ""]
    while 1 {
        if {$pace ne ""} { service::takeToken $pace driver::never }
        set event [$call next]
        lappend events [note $spec $event]
        if {[lindex $event 0] ne "item"} { break }
    }
    if {[$call replyExt] ne {}} { lappend events [note $spec [list ext [$call replyExt]]] }
    return $events
}

proc driver::never {} {
    return 0
}

proc driver::note {spec event} {
    set value [service::eventValue $event]
    set trace [service::arg $spec trace s ""]
    if {$trace ne ""} { service::record $trace $value }
    return $value
}
