# The hooks that the conformance service installs: the test hooks a and b, and the standard
# middlewares, which sleep until a call wakes them.

namespace eval testhooks {
    variable key dev.duplex.conformance
    variable seen {}    ;# "hook call point" -> how many frames
    variable ends {}    ;# "hook call" -> the sink for its end
    variable awake {}   ;# "profile call" -> 1
}

proc testhooks::install {} {
    foreach {profile command} {
        tracing standard::tracing
        authentication {standard::authentication testhooks::judge}
        policy {standard::policy testhooks::allows}
        deadline standard::deadline
        transactions standard::transactions
    } {
        hooks::use [list testhooks::sleeper $profile $command]
    }
    hooks::use {testhooks::test a}
    hooks::use {testhooks::test b}
}

# --- a and b

proc testhooks::test {name point frameVar} {
    variable key
    upvar 1 $frameVar frame
    if {$point eq "closed"} { return {} }
    set call [dict get $frame call]
    if {$point eq "end"} {
        End $name $call
        return {}
    }
    set nth [Count $name $call $point]
    lassign [hooks::get $frame $key] kind map
    if {$kind ne "o"} { return {} }
    set do [Member $map do o]
    if {[dict get $frame first] && [string match *_request $point]} {
        dict set ::testhooks::ends [list $name $call] [Member [Member $do $name.end o] sink s]
    }
    set marks [linsert [Member $map marks a] end [list s $name.$point]]
    hooks::put frame $key [list o [dict replace $map marks [list a $marks]]]
    set action [Member $do $name.$point o]
    set only [Member $action nth n]
    if {$only ne "" && $only != $nth} { return {} }
    return [Act $action $name.$point frame]
}

proc testhooks::Member {map name kind} {
    lassign [message::member $map $name] its content
    return [expr {$its eq $kind ? $content : ""}]
}

proc testhooks::Act {action where frameVar} {
    upvar 1 $frameVar frame
    if {[dict exists $action sink]} { service::record [Member $action sink s] [list s $where] }
    if {[dict exists $action payload]} { dict set frame payload [dict get $action payload] }
    if {[dict exists $action fail]} { error [Member $action fail s] }
    if {[dict exists $action answer]} { return [list answer [dict get $action answer]] }
    if {[dict exists $action error]} {
        return [list error [service::errorArg [dict get $action error]]]
    }
    return {}
}

proc testhooks::Count {name call point} {
    variable seen
    set count 1
    if {[dict exists $seen $call $name.$point]} { incr count [dict get $seen $call $name.$point] }
    dict set seen $call $name.$point $count
    return $count
}

# The counts of the other hook go with the first one that is told: nothing comes behind an end.
proc testhooks::End {name call} {
    variable seen
    variable ends
    dict unset seen $call
    if {![dict exists $ends [list $name $call]]} { return }
    set sink [dict get $ends [list $name $call]]
    dict unset ends [list $name $call]
    if {$sink ne ""} { service::record $sink [list s $name.end] }
}

# --- the standard middlewares

# Awake are the calls whose first frame names the profile; the end of a connection is for all.
proc testhooks::sleeper {profile command point frameVar} {
    variable key
    variable awake
    upvar 1 $frameVar frame
    if {$point eq "closed"} { return [{*}$command $point frame] }
    set entry [list $profile [dict get $frame call]]
    if {[string match *_request $point] && [dict get $frame first]} {
        lassign [hooks::get $frame $key.use] kind names
        if {$kind eq "a" && [list s $profile] in $names} { dict set awake $entry 1 }
    }
    if {![dict exists $awake $entry]} { return {} }
    if {$point eq "end"} { dict unset awake $entry }
    return [{*}$command $point frame]
}

proc testhooks::judge {credential} {
    lassign $credential kind text
    if {$kind eq "s" && [regexp {^valid:(.+)$} $text -> name]} { return $name }
    return ""
}

proc testhooks::allows {frame identity} {
    set method [dict get $frame method]
    if {[string match conformance.forbidden* $method]} { return 0 }
    if {[string match conformance.private* $method] && $identity ne "ada"} { return 0 }
    if {$method eq "conformance.echo" || [dict get $frame kind] ne "item"} { return 1 }
    lassign [dict get $frame payload] kind map
    return [expr {$kind ne "o" || [message::member $map forbidden] ne {b 1}}]
}
