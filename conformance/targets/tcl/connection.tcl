# One connection: the greeting, messages in both directions, and the end.
#
# phase: greeting, open, ended (nothing comes any more), closing (what is due is written), closed

namespace eval connection {}

oo::class create connection::Connection {
    variable role framing codec in out onEnd
    variable phase cutter inputOver timers gone
    variable states calls running notifications drains
    variable outgoing lastId callbacks held writers

    # onEnd is called once, when nothing can be read or written any more.
    constructor {aRole aFraming aCodec input output whenOver} {
        set role $aRole
        set framing $aFraming
        set codec $aCodec
        set in $input
        set out $output
        set onEnd $whenOver
        set cutter [framing::Cutter new $framing]
        set phase greeting
        set inputOver 0
        set gone 0
        set timers {}
        foreach name {states calls running outgoing callbacks} { set $name {} }
        foreach name {notifications drains lastId held} { set $name 0 }
        set writers {}
        foreach chan [lsort -unique [list $in $out]] {
            fconfigure $chan -blocking 0 -translation binary -buffersize 65536
        }
        fileevent $in readable [list [self] Readable]
        my Later [rpc::limit greeting_time] GreetingOver
        if {$role eq "initiator"} { my Write [framing::wrap $framing "SIMPLEX/1.0;$codec"] }
    }

    destructor {
        $cutter destroy
    }

    # --- reading

    method Readable {} {
        if {[catch { read $in 65536 } bytes]} {
            my Broken
            return
        }
        if {$phase in {greeting open}} {
            $cutter feed $bytes
            my Frames
        }
        if {$phase ne "closed" && [eof $in]} {
            fileevent $in readable {}
            set inputOver 1
            my InputEnded
        }
        sched::drain
    }

    method Frames {} {
        while {$phase in {greeting open}} {
            set found [$cutter next [my FrameLimit]]
            switch -exact -- [lindex $found 0] {
                none { return }
                over { my TooLarge }
                frame {
                    set frame [lindex $found 1]
                    if {$frame eq ""} { continue }
                    if {$phase eq "greeting"} { my Greeting $frame } else { my Message $frame }
                }
            }
            # Handlers take what came before the next frame is looked at.
            sched::drain
        }
    }

    method FrameLimit {} {
        if {$phase eq "open"} { return [rpc::limit frame] }
        return [expr {$role eq "acceptor" ? [rpc::limit greeting_frame] : $rpc::answerFrame}]
    }

    method TooLarge {} {
        if {$phase eq "greeting" && $role eq "acceptor"} { my Refuse "too long" } else { my close }
    }

    # --- the greeting

    method Greeting {frame} {
        if {$role eq "acceptor"} { my Offer $frame } else { my Answer $frame }
    }

    method Offer {frame} {
        if {![regexp {^([^;]*);([a-z0-9][a-z0-9._-]*)(;[\u0020-\u007e]*)?$} $frame -> name offered]} {
            my Refuse malformed
        } elseif {$name ne "SIMPLEX/1.0"} {
            my Refuse "name or version"
        } elseif {$offered ne $codec} {
            my Refuse "unknown codec"
        } else {
            my Write [framing::wrap $framing +OK]
            my Opened
        }
    }

    method Answer {frame} {
        if {[string index $frame 0] eq "+"} { my Opened } else { my close }
    }

    method Opened {} {
        my CancelTimers
        set phase open
    }

    method Refuse {reason} {
        my Write [framing::wrap $framing "-ERR $reason"]
        my close
    }

    method GreetingOver {} {
        if {$phase eq "greeting"} { my Closed }
    }

    # --- messages

    method Message {frame} {
        if {[catch { json::decode $frame [rpc::limit depth] ext sizes } value options]} {
            if {[lindex [dict get $options -errorcode] 0] ne "JSON"} { puts stderr $options }
            my close
            return
        }
        lassign $value kind map
        if {$kind ne "o"} {
            my close
            return
        }
        set metadata [message::member $map ext]
        set tooLarge [expr {[dict exists $sizes ext] && [lindex $metadata 0] eq "o"
            && [dict get $sizes ext] > [rpc::limit ext]}]
        if {[lindex $metadata 0] ne "o" || $tooLarge} { set metadata {} }
        switch -exact -- [message::member $map type] {
            {s req} { my Request $map [string length $frame] $metadata $tooLarge }
            {s rep} { my Reply $map [string length $frame] $metadata }
        }
    }

    method Reply {map cost metadata} {
        set id [message::id $map]
        if {[dict exists $outgoing $id]} { [dict get $outgoing $id] reply $map $cost $metadata }
    }

    method Request {map cost metadata tooLarge} {
        set id [message::id $map]
        if {$id < 0} { return }
        set state [expr {[dict exists $states $id] ? [dict get $states $id] : "none"}]
        set kind [my Kind $state $map $tooLarge]
        if {$id == 0} {
            if {$kind eq "last"} { my Notification $map $cost $metadata }
            return
        }
        lassign [message::step $state $kind] next action
        my Enter $id $next
        switch -exact -- $action {
            start { my Start $id $map $cost $metadata }
            item { my Item $id $map $cost $metadata }
            refuse { my Invalid $id }
        }
    }

    # What a request frame is, to the table of states.
    method Kind {state map tooLarge} {
        if {$state ne "none" && [message::member $map error] ne "z"} { return abort }
        set more [message::more $map]
        set bad [expr {$more < 0 || $tooLarge
            || ($state eq "none" && [lindex [message::member $map method] 0] ne "s")}]
        return [expr {$bad ? "bad" : ""}][expr {$more ? "more" : "last"}]
    }

    method Enter {id state} {
        set before [expr {[dict exists $states $id] ? [dict get $states $id] : "none"}]
        incr drains [expr {($state eq "draining") - ($before eq "draining")}]
        if {$state eq "none"} { dict unset states $id } else { dict set states $id $state }
        if {$drains > [rpc::limit draining_ids]} { my close }
    }

    method Start {id map cost metadata} {
        if {[my Crowded]} {
            my answered $id
            my reply $id [dict create error [message::errorMember $channel::crowded]] {}
            return
        }
        set call [my NewCall $id $map $metadata]
        dict set calls $id $call
        my First $call $map $cost $metadata
    }

    method Notification {map cost metadata} {
        if {[my Crowded]} { return }
        my First [my NewCall 0 $map $metadata] $map $cost $metadata
    }

    method NewCall {id map metadata} {
        set name [message::text [message::member $map method]]
        return [channel::Incoming new [self] $id $name $metadata]
    }

    # Hooks see a call before its method is looked up, or they could not keep it a secret.
    method First {call map cost metadata} {
        set frame [my Pass $call $map $metadata 1]
        if {$frame ne {}} {
            lassign [my Lookup [dict get $frame method]] kind command
            if {$kind ne ""} {
                my Run $call $kind $command
                my Arguments $call $frame $cost
                return
            }
            $call missing
        }
        $call destroy
    }

    method Run {call kind command} {
        dict set running $call 1
        if {[$call isNotification]} { incr notifications }
        $call start $kind $command
    }

    method Crowded {} {
        return [expr {[dict size $calls] + $notifications >= [rpc::limit open_calls]}]
    }

    method Lookup {method} {
        if {[dict exists $callbacks $method]} { return [dict get $callbacks $method] }
        return [rpc::lookup $method]
    }

    # An item, an end or an abort of a call that is open.
    method Item {id map cost metadata} {
        set call [dict get $calls $id]
        set frame [my Pass $call $map $metadata 0]
        if {$frame ne {}} { my Arguments $call $frame $cost }
    }

    # What the hooks leave of a frame, or {} if one of them ended the call.
    method Pass {call map metadata first} {
        set more [message::more $map]
        set error {}
        if {!$first && [message::member $map error] ne "z"} {
            set kind abort
            if {[catch { message::errorOf $map } error]} { set error $channel::aborted }
        } else {
            set kind [expr {$more != 1 && [message::isEnd $map] ? "end" : "item"}]
        }
        set last [expr {$kind eq "abort" || !$more}]
        return [$call arrived $kind [message::member $map payload] $error $last $metadata]
    }

    # Hands a frame's item and its end to the handler.
    method Arguments {call frame cost} {
        switch -exact -- [dict get $frame kind] {
            abort { $call endArgs [list error [dict get $frame error]] }
            end { $call endArgs end }
            item {
                if {![$call item [dict get $frame payload] $cost]} {
                    $call refuse $channel::overflow 1
                } elseif {[dict get $frame last]} {
                    $call endArgs end
                }
            }
        }
    }

    # The state has been entered already: only the reply is left, and the arguments of a call.
    method Invalid {id} {
        if {[dict exists $calls $id]} {
            [dict get $calls $id] refuse $channel::invalid 0
        } else {
            my reply $id [dict create error [message::errorMember $channel::invalid]] {}
        }
    }

    # --- for channels

    method limit {name} { return [rpc::limit $name] }
    method gone {} { return $gone }
    method canCall {} { return [expr {$phase eq "open"}] }

    # Unread bytes: false if there is no room for so many more.
    method hold {cost} {
        if {$held + $cost > [rpc::limit buffered_bytes]} { return 0 }
        incr held $cost
        return 1
    }
    method unhold {cost} { incr held -$cost }

    # The terminal reply to this id goes out now.
    method answered {id} {
        dict unset calls $id
        if {![dict exists $states $id]} { return }
        switch -exact -- [dict get $states $id] {
            open { my Enter $id draining }
            complete { my Enter $id none }
        }
    }

    # The handler of this call has ended.
    method ended {call id} {
        dict unset running $call
        if {$id == 0} { incr notifications -1 }
        my settle
        if {$phase eq "closed"} { my Reap }
    }

    # False when the reply cannot be encoded, or is too large.
    method reply {id body metadata} {
        set message [dict merge [dict create type {s rep} id [list n $id]] $body]
        if {$metadata ne {}} { dict set message ext $metadata }
        return [expr {![catch { my Send $message }]}]
    }

    # Throws when the request cannot be encoded, or is too large. The id 0 is none.
    method request {id method body metadata} {
        set message [dict create type {s req}]
        if {$id} { dict set message id [list n $id] }
        dict set message method [list s $method]
        set message [dict merge $message $body]
        if {$metadata ne {}} { dict set message ext $metadata }
        my Send $message
    }

    method nextId {} { return [expr {$lastId + 1}] }
    method pending {id call} {
        set lastId $id
        dict set outgoing $id $call
    }
    method forget {id} { dict unset outgoing $id }

    # Waits, in a handler, until there is room to write.
    method room {} {
        while {$phase ni {closing closed} && [chan pending output $out] > [rpc::limit outbound_bytes]} {
            lappend writers [info coroutine]
            fileevent $out writable [list [self] Writable]
            sched::pause
        }
    }

    # --- for users

    method callback {kind command} {
        set name _callback.[rpc::uuid]
        dict set callbacks $name [list $kind $command]
        return $name
    }
    method release {name} { dict unset callbacks $name }

    method counts {} {
        return [dict create incoming [dict size $calls] outgoing [dict size $outgoing] \
            handlers [dict size $running] callbacks [dict size $callbacks]]
    }

    # --- writing

    method Send {message} {
        set frame [json::encode [list o $message]]
        if {[string length $frame] > [rpc::limit frame]} { throw {DUPLEX large} "too large" }
        my Write [framing::wrap $framing $frame]
    }

    method Write {bytes} {
        if {$phase in {closing closed}} { return }
        if {[catch {
            puts -nonewline $out $bytes
            flush $out
        }]} {
            my Broken
        } elseif {[chan pending output $out] > 2 * [rpc::limit outbound_bytes]} {
            # Handlers wait in `room`; this came from somebody who cannot.
            my close
        }
    }

    method Writable {} {
        fileevent $out writable {}
        my WakeWriters
        sched::drain
    }

    method WakeWriters {} {
        set names $writers
        set writers {}
        foreach name $names { sched::wake $name }
    }

    # --- the end

    method InputEnded {} {
        switch -exact -- $phase {
            greeting { my Closed }
            open {
                set phase ended
                my FailOpen
                my Later [my AnswerTime] close
                my settle
                my Probe
            }
            closing { if {$out eq ""} { my Closed } }
        }
    }

    # An end of the input looks the same whether the other side still reads or has gone. A keepalive
    # finds out: to a side that has gone, the one after it cannot be written.
    method Probe {} {
        if {$phase ne "ended"} { return }
        my Write [framing::wrap $framing ""]
        my Later 0.1 Probe
    }

    # How long calls may still be answered. A program that is its one session ends with its input.
    method AnswerTime {} {
        set time [rpc::limit closing_time]
        return [expr {$in eq $out ? $time : min(1, $time)}]
    }

    # Own calls, and arguments that cannot end any more.
    method FailOpen {} {
        foreach call [dict values $outgoing] { $call closed }
        dict for {id call} $calls {
            $call endArgs closed
            if {[dict get $states $id] eq "open"} {
                $call forget
                dict unset calls $id
            }
        }
        set states [dict filter $states value complete]
    }

    # Ends this side when the input has ended and nothing is left to answer.
    method settle {} {
        if {$phase eq "ended" && ![dict size $calls]} { my close }
    }

    # Writes what was accepted, and ends. Whatever comes in is not looked at any more.
    method close {} {
        if {$phase in {closing closed}} { return }
        set phase closing
        my CancelTimers
        my Tell
        my Later [rpc::limit closing_time] Closed
        # Behind a flush in the background, the event says that all is written.
        fileevent $out writable [list [self] Written]
    }

    # Lets every handler learn that nobody waits.
    method Tell {} {
        my FailOpen
        set gone 1
        dict for {id call} $calls { $call forget }
        foreach name {states calls callbacks} { set $name {} }
        dict for {call -} $running { sched::wake [$call job] }
        my WakeWriters
        hooks::tell closed [hooks::forth] [self]
    }

    method Written {} {
        if {[chan pending output $out] > 0} { return }
        fileevent $out writable {}
        if {$out ne $in} {
            catch { close $out }
        } elseif {[catch { close $out write }]} {
            my Closed
            return
        }
        set out ""
        if {$inputOver} {
            my Closed
        } else {
            my CancelTimers
            my Later $rpc::lingerTime Closed
        }
    }

    method Broken {} {
        if {$phase eq "closed"} { return }
        if {$phase ne "closing"} {
            set phase closing
            my Tell
        }
        my Closed
    }

    method Closed {} {
        if {$phase eq "closed"} { return }
        set phase closed
        my CancelTimers
        # What is left is cut off: a blocking close would wait for it.
        foreach chan [lsort -unique [list $in $out]] {
            if {$chan ne ""} { catch { close $chan } }
        }
        my Reap
        {*}$onEnd
    }

    # Handlers that still run may ask this object.
    method Reap {} {
        if {![dict size $running]} { after 0 [list catch [list [self] destroy]] }
    }

    method Later {seconds method} {
        lappend timers [after [expr {int($seconds * 1000)}] [list [self] $method]]
    }

    method CancelTimers {} {
        foreach timer $timers { after cancel $timer }
        set timers {}
    }

    export Readable Writable Written Closed GreetingOver Probe
}
