# What a message says: members of a decoded map, and the table of a call's states.

namespace eval message {
    variable maxId 9007199254740991

    # An abort is handed on like an item: the frame itself says which it is.
    # state -> kind of request frame -> {next state, what to do}
    variable steps {
        none {
            more {open start}         last {complete start}
            badmore {draining refuse} badlast {none refuse}
        }
        open {
            more {open item}          last {complete item}    abort {complete item}
            badmore {draining refuse} badlast {none refuse}
        }
        complete {
            more {complete drop}      last {complete drop}    abort {complete drop}
            badmore {complete drop}   badlast {complete drop}
        }
        draining {
            more {draining drop}      last {none drop}        abort {none drop}
            badmore {draining drop}   badlast {none drop}
        }
    }
}

proc message::step {state kind} {
    variable steps
    return [dict get $steps $state $kind]
}

# An absent member and null are one and the same, wherever a receiver looks.
proc message::member {map name} {
    if {[dict exists $map $name]} { return [dict get $map $name] }
    return z
}

proc message::text {value} {
    lassign $value kind content
    if {$kind ne "s"} { throw {MESSAGE kind} "not a string" }
    return $content
}

# The id of a message: 0 for none, -1 for what is no id.
proc message::id {map} {
    variable maxId
    set value [member $map id]
    lassign $value kind content
    if {$kind eq "z"} { return 0 }
    if {$kind ne "n" || ![isInteger $content] || [string match -* $content]} { return -1 }
    if {$content > $maxId} { return -1 }
    return $content
}

proc message::isInteger {number} {
    return [regexp {^-?(?:0|[1-9][0-9]*)$} $number]
}

# 0, 1, or -1 for a malformed `more`.
proc message::more {map} {
    lassign [member $map more] kind content
    switch -exact -- $kind {
        z { return 0 }
        b { return $content }
        default { return -1 }
    }
}

# Is this last frame an end without an item?
proc message::isEnd {map} {
    return [expr {[member $map end] eq {b 1} && [member $map payload] eq "z"}]
}

# The error of a reply as {code message data}, {} for none; throws for a malformed one.
proc message::errorOf {map} {
    lassign [member $map error] kind content
    if {$kind eq "z"} { return {} }
    if {$kind ne "o"} { throw {MESSAGE error} "the error is no map" }
    lassign [member $content code] codeKind code
    lassign [member $content message] textKind text
    if {$codeKind ne "n" || ![isInteger $code] || $textKind ne "s"} {
        throw {MESSAGE error} "the error has no code or no message"
    }
    return [list $code $text [member $content data]]
}

# The members of an error message, from {code message ?data?}.
proc message::errorMember {error} {
    lassign $error code text data
    set map [dict create code [list n $code] message [list s $text]]
    if {$data ni {"" z}} { dict set map data $data }
    return [list o $map]
}
