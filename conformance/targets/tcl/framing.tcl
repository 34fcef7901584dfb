# Cuts a byte stream into frames, whatever pieces the bytes come in.

namespace eval framing {
    variable names {length newline}
}

proc framing::wrap {kind frame} {
    if {$kind eq "newline"} { return $frame\n }
    return [binary format I [string length $frame]]$frame
}

# Feed it bytes, then take frames until it says `none` (not here yet) or `over` (too long).
oo::class create framing::Cutter {
    variable kind buffer start scanned

    constructor {framing} {
        set kind $framing
        set buffer [binary format ""]    ;# bytes append to bytes much faster than to text
        set start 0     ;# where the next frame begins
        set scanned 0   ;# newline: up to here there is no line end
    }

    method feed {bytes} {
        if {$start > 0} {
            set buffer [string range $buffer $start end]
            incr scanned -$start
            set start 0
        }
        append buffer $bytes
    }

    # {frame BYTES}, {none} or {over}. A length is judged before the bytes behind it are there.
    method next {limit} {
        if {$kind eq "newline"} { return [my Line $limit] }
        return [my Counted $limit]
    }

    method Counted {limit} {
        if {[string length $buffer] < $start + 4} { return none }
        binary scan $buffer @${start}Iu length
        if {$length > $limit} { return over }
        set end [expr {$start + 4 + $length}]
        if {[string length $buffer] < $end} { return none }
        set frame [string range $buffer [expr {$start + 4}] [expr {$end - 1}]]
        set start $end
        return [list frame $frame]
    }

    method Line {limit} {
        set end [string first \n $buffer $scanned]
        set found [expr {$end >= 0}]
        if {!$found} { set end [string length $buffer] }
        set scanned $end
        set last [expr {$end - 1}]
        # The one \r before the line end is no part of the frame, also while the \n is on its way.
        if {$last >= $start && [string index $buffer $last] eq "\r"} { incr last -1 }
        if {$last - $start + 1 > $limit} { return over }
        if {!$found} { return none }
        set frame [string range $buffer $start $last]
        set start [expr {$end + 1}]
        set scanned $start
        return [list frame $frame]
    }
}
