# Handlers are coroutines. They are never resumed from inside each other or from inside the reader:
# whoever has news for one puts it into the queue, which is emptied after each frame and each event.
# A coroutine can be woken for no reason, so it waits in a loop: while {no news} { sched::pause }.

namespace eval sched {
    variable queue {}
    variable planned 0
    variable busy 0
    variable count 0
}

proc sched::spawn {args} {
    variable count
    set name ::sched::job[incr count]
    coroutine $name sched::Body $args
    wake $name
    return $name
}

proc sched::Body {command} {
    yield
    if {[catch {uplevel #0 $command} message options]} {
        puts stderr [dict get $options -errorinfo]
    }
}

proc sched::pause {} {
    yield
}

proc sched::wake {name} {
    variable queue
    variable planned
    lappend queue $name
    if {!$planned} {
        set planned 1
        after 0 sched::drain
    }
}

# A handler whose write fails gets here from inside itself: what is queued then waits for its turn.
proc sched::drain {} {
    variable queue
    variable planned
    variable busy
    if {$busy} { return }
    set busy 1
    while {[llength $queue]} {
        set names $queue
        set queue {}
        foreach name $names {
            if {[llength [info commands $name]]} { $name }
        }
    }
    set busy 0
    if {$planned} {
        after cancel sched::drain
        set planned 0
    }
}
