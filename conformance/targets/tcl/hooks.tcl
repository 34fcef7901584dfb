# The list of middlewares of a peer. A middleware is a command that is called with
#
#   POINT frameVar     for each frame; returns {} to go on, {answer VALUE} or {error ERROR},
#                      and may change `payload` and `ext` of the frame, which is a dict:
#                      call conn id method first last kind (item, end, abort, error) payload error ext
#   end frameVar       once for each call whose first frame it saw; the frame has call, conn, method
#   closed connVar     when a connection has ended
#
# POINT is outbound_request, inbound_request, outbound_reply or inbound_reply.

namespace eval hooks {
    variable list {}
}

proc hooks::use {command} {
    variable list
    lappend list $command
}

# The places in the list, from the first on, or from before `end` back to the first.
proc hooks::forth {} {
    variable list
    set places {}
    for {set i 0} {$i < [llength $list]} {incr i} { lappend places $i }
    return $places
}

proc hooks::back {{end ""}} {
    return [lreverse [expr {$end eq "" ? [forth] : [lrange [forth] 0 $end-1]}]]
}

# Passes the frame through the hooks at these places. Returns {outcome place}:
#   pass     all of them let it go on, or, on a reply, put another reply in its place
#   answer   the hook at this place answered a request: the frame is that reply now
#   fail     the hook at this place raised
proc hooks::run {point places frameVar {seenVar {}}} {
    variable list
    upvar 1 $frameVar frame
    if {$seenVar ne ""} { upvar 1 $seenVar seen }
    foreach place $places {
        if {$seenVar ne ""} { lappend seen $place }
        if {[catch { {*}[lindex $list $place] $point frame } verdict options]} {
            puts stderr "hook: [dict get $options -errorinfo]"
            return [::list fail $place]
        }
        lassign $verdict kind value
        switch -exact -- $kind {
            "" { continue }
            answer { set reply [dict create kind item payload $value last 1] }
            error { set reply [dict create kind error error $value payload z last 1] }
        }
        set frame [dict merge $frame $reply]
        if {[string match *_request $point]} { return [::list answer $place] }
    }
    return pass
}

proc hooks::tell {point places value} {
    variable list
    foreach place $places {
        if {[catch { {*}[lindex $list $place] $point value } message options]} {
            puts stderr "hook: [dict get $options -errorinfo]"
        }
    }
}

# --- for hooks: keys of a frame's ext

proc hooks::get {frame key} {
    set ext [dict get $frame ext]
    if {$ext eq {}} { return z }
    return [message::member [lindex $ext 1] $key]
}

proc hooks::put {frameVar key value} {
    upvar 1 $frameVar frame
    set ext [dict get $frame ext]
    set map [expr {$ext eq {} ? {} : [lindex $ext 1]}]
    dict set map $key $value
    dict set frame ext [::list o $map]
}

# An ext that held nothing else is gone with its last key.
proc hooks::drop {frameVar key} {
    upvar 1 $frameVar frame
    set ext [dict get $frame ext]
    if {$ext eq {} || ![dict exists [lindex $ext 1] $key]} { return }
    set map [dict remove [lindex $ext 1] $key]
    dict set frame ext [expr {[dict size $map] ? [::list o $map] : {}}]
}
