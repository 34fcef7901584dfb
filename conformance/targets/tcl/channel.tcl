# The two kinds of channel: Incoming is a call that this peer serves, Outgoing one that it makes.
#
# Both read events:  {item VALUE}  {end}  {error {CODE MESSAGE DATA}}  {closed}  {failed WHY}
# and the last four stay: who reads on gets the same again.
#
# A handler fails by its choice with:  throw {DUPLEX error {CODE MESSAGE DATA}} text

namespace eval channel {
    # Codes that a peer chooses by itself.
    variable invalid {-32600 "invalid request"}
    variable missing {-32601 "method not found"}
    variable unfit {-32602 "the payload does not fit"}
    variable failed {-32603 "internal error"}
    variable crowded {-32000 "too many open calls"}
    variable overflow {-32001 "too many unread items"}
    variable aborted {-32004 "the arguments were aborted"}
}

# What was received and not read yet. Its bytes count on the connection.
oo::class create channel::Inbox {
    variable conn events costs final waiter seen

    method Open {connection} {
        set conn $connection
        set seen {}
        set events {}
        set costs {}
        set final {}
        set waiter {}
    }

    # False when a limit is passed; the item is not taken then.
    method Take {value cost} {
        if {$final ne {}} { return 1 }
        if {[llength $events] >= [$conn limit buffered_items] || ![$conn hold $cost]} { return 0 }
        lappend events [list item $value]
        lappend costs $cost
        my Wake
        return 1
    }

    method Close {event} {
        if {$final ne {}} { return }
        set final $event
        my Wake
    }

    # Hooks that saw the first frame are told the end, once.
    method TellEnd {frame} {
        set places $seen
        set seen {}
        if {[llength $places]} { hooks::tell end $places $frame }
    }

    method Wake {} {
        if {$waiter ne ""} {
            sched::wake $waiter
            set waiter ""
        }
    }

    method next {} {
        while {![llength $events] && $final eq {}} {
            set waiter [info coroutine]
            sched::pause
        }
        if {![llength $events]} { return $final }
        set event [lindex $events 0]
        $conn unhold [lindex $costs 0]
        set events [lrange $events 1 end]
        set costs [lrange $costs 1 end]
        return $event
    }

    destructor {
        foreach cost $costs { $conn unhold $cost }
    }
}

# A call that is served; a notification has the id 0.
oo::class create channel::Incoming {
    superclass channel::Inbox
    variable conn id method ext job replied fresh seen

    constructor {connection number name metadata} {
        my Open $connection
        set id $number
        set method $name
        set ext $metadata
        set replied 0
        set fresh 1     ;# no frame has passed the hooks yet
        set job ""
    }

    destructor {
        my TellEnd [my Frame {}]
        next
    }

    # --- for the connection

    method start {kind command} {
        set job [sched::spawn {*}[list [self] Run $kind $command]]
    }
    method job {} { return $job }
    method isNotification {} { return [expr {$id == 0}] }
    method item {value cost} { return [my Take $value $cost] }
    method endArgs {event} { my Close $event }

    # Passes a request frame through the hooks: what they leave, or {} if one of them ended the call.
    method arrived {kind value error last metadata} {
        if {$metadata ne {}} { set ext $metadata }
        set frame [my Frame [dict create kind $kind payload $value error $error last $last]]
        set told [expr {$fresh ? "seen" : ""}]
        lassign [hooks::run inbound_request [hooks::forth] frame {*}$told] outcome place
        set fresh 0
        set ext [dict get $frame ext]
        if {$outcome eq "pass"} { return $frame }
        my Close {failed hook}
        if {$outcome eq "fail"} { set frame [my Frame [my ErrorBody $channel::failed]] }
        my Emit $frame [hooks::back $place]
        return {}
    }

    # Ends the call with an error of the peer's own, past the hooks; the handler runs on unheard.
    method refuse {error withExt} {
        my Close [list error $error]
        my Final
        set body [dict create error [message::errorMember $error]]
        if {!$withExt || ![$conn reply $id $body $ext]} { $conn reply $id $body {} }
        my Over
    }

    method missing {} { my Emit [my Frame [my ErrorBody $channel::missing]] [hooks::back] }

    # The connection is gone, or this call cannot be answered any more.
    method forget {} {
        set replied 1
        if {$id} { my TellEnd [my Frame {}] }
    }

    method Run {kind command} {
        try {
            if {$kind eq "value"} {
                my last [{*}$command [self] [my value]]
            } else {
                {*}$command [self]
                if {!$replied} { my finish }
            }
        } trap {DUPLEX late} {} {
            # The call has its reply, or the connection is gone.
        } on error {message options} {
            my Failed $options
        } finally {
            $conn ended [self] $id
            my destroy
        }
    }

    method Failed {options} {
        lassign [dict get $options -errorcode] mark why error
        if {$mark ne "DUPLEX"} {
            puts stderr "handler: [dict get $options -errorinfo]"
            set error $channel::failed
        } elseif {$why eq "aborted"} {
            set error $channel::aborted
        } elseif {$why ne "error"} {
            set error $channel::failed
        }
        if {!$replied} { catch { my fail $error } }
    }

    export Run

    # --- for the handler

    method connection {} { return $conn }
    method ext {} { return $ext }
    method replied {} { return $replied }

    # Nobody waits for this call any more.
    method gone {} { return [$conn gone] }

    # The next argument: {item VALUE} or {end}; throws when the arguments fail.
    method arg {} {
        set event [my next]
        switch -exact -- [lindex $event 0] {
            item - end { return $event }
            error { throw [list DUPLEX aborted [lindex $event 1]] "the arguments were aborted" }
            default { throw {DUPLEX closed} "the arguments ended with the call or the connection" }
        }
    }

    # The one argument of a handler that takes a single value.
    method value {} {
        lassign [my arg] kind value
        return [expr {$kind eq "item" ? $value : "z"}]
    }

    method send {value} { my Send [dict create kind item payload $value last 0] }
    method last {value} { my Send [dict create kind item payload $value last 1] }
    method finish {} { my Send [dict create kind end payload z last 1] }
    method fail {error} { my Send [my ErrorBody $error] }

    # A nested call, with a copy of this channel's ext.
    method call {name {extra {}}} {
        set metadata $ext
        if {$extra ne {}} {
            set own [expr {$ext eq {} ? {} : [lindex $ext 1]}]
            set metadata [list o [dict merge $own $extra]]
        }
        return [channel::Outgoing new $conn $name $metadata $ext]
    }

    # --- replies

    method Frame {members} {
        return [dict merge [dict create call [self] conn $conn id $id method $method first $fresh \
            ext $ext error {} payload z] $members]
    }

    method ErrorBody {error} {
        return [dict create kind error error $error last 1]
    }

    method Send {members} {
        if {$id == 0} { return }
        $conn room
        if {$replied} { throw {DUPLEX late} "the call has its reply" }
        my Emit [my Frame $members] [hooks::back]
        if {$replied && ![dict get $members last]} { throw {DUPLEX late} "the call was ended" }
    }

    # Sends a reply through the hooks at these places; one that cannot be sent ends the call.
    method Emit {frame places} {
        if {$replied || $id == 0} { return }
        if {[lindex [hooks::run outbound_reply $places frame] 0] eq "fail"} {
            my refuse $channel::failed 1
            return
        }
        # The id is free once the caller has the reply, so it is given back first.
        if {[dict get $frame last]} { my Final }
        if {![$conn reply $id [my Body $frame] [dict get $frame ext]]} {
            my refuse $channel::failed 1
        } elseif {$replied} {
            my Over
        }
    }

    method Body {frame} {
        switch -exact -- [dict get $frame kind] {
            error { return [dict create error [message::errorMember [dict get $frame error]]] }
            end { return {payload z end {b 1} more {b 0}} }
        }
        set more [list b [expr {![dict get $frame last]}]]
        return [dict create payload [dict get $frame payload] more $more]
    }

    method Final {} {
        if {$replied} { return }
        set replied 1
        $conn answered $id
    }

    method Over {} {
        if {$id} { my TellEnd [my Frame {}] }
        $conn settle
    }
}

# A call that is made. Nothing is sent before its first item or its end.
oo::class create channel::Outgoing {
    superclass channel::Inbox
    variable conn id method ext inherited state replyExt watchers seen

    constructor {connection name metadata {parentExt {}}} {
        my Open $connection
        set method $name
        set ext $metadata
        set inherited $parentExt
        set id 0
        set state unsent
        set replyExt {}
        set watchers {}
        if {![$conn canCall]} { my closed }
    }

    destructor {
        if {$state ne "done"} { my GiveUp dropped }
        next
    }

    # --- for the user

    method send {value} { my Request [dict create kind item payload $value last 0] }
    method last {value} { my Request [dict create kind item payload $value last 1] }
    method finish {} { my Request [dict create kind end payload z last 1] }

    method abort {error} {
        if {$state ne "open"} { my GiveUp aborted; return }
        my Stop abort $error
        set state waiting
    }

    method notify {value} {
        $conn room
        if {$state eq "unsent" && [$conn canCall]} {
            set frame [my Frame [dict create kind item payload $value last 1]]
            if {[hooks::run outbound_request [hooks::forth] frame seen] eq "pass"} {
                catch { $conn request 0 $method [dict create payload [dict get $frame payload]] \
                    [dict get $frame ext] }
            }
        }
        my Done
    }

    method replyExt {} { return $replyExt }
    method over {} { return [expr {$state eq "done"}] }

    # Wakes this coroutine when the call is over.
    method watch {} { lappend watchers [info coroutine] }

    # The single value of the reply, as events: a stream is not what was asked for.
    method single {} {
        set first [my next]
        switch -exact -- [lindex $first 0] {
            item {
                if {[lindex [my next] 0] ne "end"} { return [list {failed stream}] }
                return [list $first end]
            }
            end { return [list {item z} end] }
            default { return [list $first] }
        }
    }

    # --- for the connection

    method reply {map cost metadata} {
        set more [message::more $map]
        if {$more < 0 || [catch { message::errorOf $map } error]} {
            my GiveUp "bad reply"
            return
        }
        set last [expr {!$more || $error ne {}}]
        set kind [expr {$error ne {} ? "error" : $last && [message::isEnd $map] ? "end" : "item"}]
        set frame [my Frame [dict create kind $kind last $last error $error \
            payload [message::member $map payload] ext $metadata first 0]]
        set outcome [lindex [hooks::run inbound_reply [hooks::back] frame] 0]
        set metadata [dict get $frame ext]
        if {$metadata ne {}} { set replyExt $metadata }
        if {$last} { my Stop end {} }
        if {$outcome eq "fail"} { my GiveUp hook } else { my Deliver $frame $cost }
    }

    # The connection has ended.
    method closed {} {
        my Done
        my Close closed
    }

    # --- results

    method Deliver {frame cost} {
        set kind [dict get $frame kind]
        if {$kind eq "item" && ![my Take [dict get $frame payload] $cost]} {
            my GiveUp overflow
        } elseif {[dict get $frame last]} {
            # Unless the other side ended the call, a hook did, and the arguments are incomplete.
            my Stop abort $channel::aborted
            my Done
            my Close [expr {$kind eq "error" ? [list error [dict get $frame error]] : "end"}]
        }
    }

    # --- arguments

    method Frame {members} {
        return [dict merge [dict create call [self] conn $conn id $id method $method \
            first [expr {$state eq "unsent"}] ext $ext inherited $inherited error {} payload z] \
            $members]
    }

    method Request {members} {
        $conn room
        if {$state ni {unsent open}} { return }
        if {![$conn canCall]} { my closed; return }
        set frame [my Frame $members]
        set outcome [lindex [hooks::run outbound_request [hooks::forth] frame \
            {*}[expr {$state eq "unsent" ? "seen" : ""}]] 0]
        switch -exact -- $outcome {
            pass { my Transmit $frame }
            answer { my Deliver $frame 0 }
            fail { my GiveUp hook }
        }
    }

    method Transmit {frame} {
        if {$state eq "unsent"} { set id [$conn nextId] }
        if {[catch { $conn request $id $method [my Body $frame] [dict get $frame ext] }]} {
            if {$state eq "unsent"} { set id 0 }
            my GiveUp "too large"
            return
        }
        if {$state eq "unsent"} { $conn pending $id [self] }
        set state [expr {[dict get $frame last] ? "waiting" : "open"}]
    }

    method Body {frame} {
        set more [list b [expr {![dict get $frame last]}]]
        switch -exact -- [dict get $frame kind] {
            item { return [dict create payload [dict get $frame payload] more $more] }
            end { return {payload z end {b 1} more {b 0}} }
        }
        set error [message::errorMember [dict get $frame error]]
        return [dict create payload z error $error more {b 0}]
    }

    # Ends open arguments, with an end or an abort. Hooks see it, and have no say any more.
    method Stop {kind error} {
        if {$state ne "open"} { return }
        set state waiting
        set frame [my Frame [dict create kind $kind error $error last 1]]
        set after $frame
        hooks::run outbound_request [hooks::forth] after
        if {[catch { $conn request $id $method [my Body $frame] [dict get $after ext] }]} {
            $conn request $id $method [my Body $frame] {}
        }
    }

    method GiveUp {why} {
        my Stop abort $channel::aborted
        my Done
        my Close [list failed $why]
    }

    method Done {} {
        if {$state eq "done"} { return }
        set state done
        if {$id} { $conn forget $id }
        foreach name $watchers { sched::wake $name }
        my TellEnd [my Frame {}]
    }
}
