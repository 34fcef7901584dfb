# A strict JSON reader and writer (RFC 8259).
#
# Tcl has no types on the outside of a value, and JSON has. So a JSON value is a tagged list:
#   z          null             s TEXT     a string
#   b 0|1      a boolean        a LIST     an array of tagged values
#   n TEXT     a number, as it was written      o DICT   an object: key -> tagged value

namespace eval json {
    namespace export decode encode
    variable text ""    ;# what is being read: the reader never waits, so one at a time is enough
    variable pos 0
    variable limit 0
    variable spans {}   ;# top-level key -> source text, for keys in `watched`
    variable watched {}

    # `string map` list that writes what RFC 8259 wants escaped.
    variable escapes [list \" {\"} \\ {\\}]
    for {set c 0} {$c < 32} {incr c} {
        lappend escapes [format %c $c] [format {\u%04x} $c]
    }
    unset c
}

# Reads one value from UTF-8 bytes. `keys` names members of the outermost object whose length in
# source bytes is wanted: they come back in the dict `spanVar`.
proc json::decode {bytes depth {keys {}} {spanVar {}}} {
    variable text [Utf8 $bytes]
    variable pos 0
    variable limit $depth
    variable watched $keys
    variable spans {}
    set value [Value 0]
    Blank
    if {$pos < [string length $text]} { Bad "trailing bytes" }
    set text ""
    if {$spanVar ne ""} {
        upvar 1 $spanVar out
        set out $spans
    }
    return $value
}

proc json::Bad {why} {
    throw {JSON bad} "not JSON: $why"
}

# `encoding convertfrom` lets overlong forms and surrogates pass, so the bytes are checked first.
proc json::Utf8 {bytes} {
    if {![string is ascii $bytes] && ![regexp -expanded {^(?:
            [\u0001-\u007f] | [\u00c2-\u00df][\u0080-\u00bf]
          | \u00e0[\u00a0-\u00bf][\u0080-\u00bf]
          | [\u00e1-\u00ec\u00ee\u00ef][\u0080-\u00bf]{2} | \u00ed[\u0080-\u009f][\u0080-\u00bf]
          | \u00f0[\u0090-\u00bf][\u0080-\u00bf]{2} | [\u00f1-\u00f3][\u0080-\u00bf]{3}
          | \u00f4[\u0080-\u008f][\u0080-\u00bf]{2} )*$} $bytes]} {
        Bad "invalid UTF-8"
    }
    return [encoding convertfrom utf-8 $bytes]
}

proc json::Blank {} {
    variable text
    variable pos
    if {[string index $text $pos] in {" " "\t" "\n" "\r"}} {
        regexp -indices -start $pos {\A[ \t\n\r]+} $text found
        set pos [expr {[lindex $found 1] + 1}]
    }
}

proc json::Value {depth} {
    variable text
    variable pos
    Blank
    switch -exact -- [string index $text $pos] {
        \{ { return [list o [Object [Deeper $depth]]] }
        \[ { return [list a [Array [Deeper $depth]]] }
        \" { return [list s [String]] }
        t { return [Word true {b 1}] }
        f { return [Word false {b 0}] }
        n { return [Word null z] }
        default { return [list n [Number]] }
    }
}

proc json::Deeper {depth} {
    variable limit
    if {[incr depth] > $limit} { Bad "nested too deep" }
    return $depth
}

proc json::Word {word value} {
    variable text
    variable pos
    set end [expr {$pos + [string length $word]}]
    if {[string range $text $pos [expr {$end - 1}]] ne $word} { Bad "unknown word" }
    set pos $end
    return $value
}

proc json::Number {} {
    variable text
    variable pos
    if {![regexp -start $pos {\A-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?} \
            $text number]} {
        Bad "unexpected character"
    }
    incr pos [string length $number]
    return $number
}

proc json::String {} {
    variable text
    variable pos
    set out ""
    incr pos
    while 1 {
        if {![regexp -indices -start $pos {\A[^\"\\\u0000-\u001f]*} $text found]} { Bad string }
        lassign $found first last
        append out [string range $text $first $last]
        set pos [expr {$last + 2}]
        switch -exact -- [string index $text [expr {$last + 1}]] {
            \" { return $out }
            \\ { append out [Escape] }
            default { Bad "unterminated string" }
        }
    }
}

proc json::Escape {} {
    variable text
    variable pos
    set letter [string index $text $pos]
    incr pos
    switch -exact -- $letter {
        \" - \\ - / { return $letter }
        b { return \b }
        f { return \f }
        n { return \n }
        r { return \r }
        t { return \t }
        u { return [Unicode] }
        default { Bad "unknown escape" }
    }
}

proc json::Unicode {} {
    variable text
    variable pos
    if {![regexp -start $pos {\A[0-9a-fA-F]{4}} $text hex]} { Bad "short escape" }
    incr pos 4
    scan $hex %x code
    if {$code < 0xd800 || $code > 0xdfff} { return [format %c $code] }
    # Tcl 8.6 keeps an astral character as its two surrogates; a lone one becomes U+FFFD.
    if {$code < 0xdc00 && [regexp -start $pos {\A\\u([dD][c-fC-F][0-9a-fA-F]{2})} $text -> low]} {
        incr pos 6
        return [format %c%c $code 0x$low]
    }
    return \ufffd
}

proc json::Array {depth} {
    variable text
    variable pos
    incr pos
    Blank
    set out {}
    if {[string index $text $pos] eq "\]"} { incr pos; return $out }
    while 1 {
        lappend out [Value $depth]
        if {[string index $text $pos] ni {, \]}} { Blank }
        set next [string index $text $pos]
        incr pos
        if {$next eq "\]"} { return $out }
        if {$next ne ","} { Bad "array" }
    }
}

proc json::Object {depth} {
    variable text
    variable pos
    incr pos
    Blank
    set out {}
    if {[string index $text $pos] eq "\}"} { incr pos; return $out }
    while 1 {
        Blank
        if {[string index $text $pos] ne "\""} { Bad "key" }
        set key [String]
        Blank
        if {[string index $text $pos] ne ":"} { Bad "colon" }
        incr pos
        Blank
        set start $pos
        dict set out $key [Value $depth]
        if {$depth == 1} { Span $key $start }
        Blank
        set next [string index $text $pos]
        incr pos
        if {$next eq "\}"} { return $out }
        if {$next ne ","} { Bad "object" }
    }
}

proc json::Span {key start} {
    variable watched
    variable spans
    variable text
    variable pos
    if {$key in $watched} {
        set source [string range $text $start [expr {$pos - 1}]]
        dict set spans $key [string length [encoding convertto utf-8 $source]]
    }
}

# Writes a tagged value as UTF-8 bytes. Throws JSON unsendable for a number that JSON cannot carry.
proc json::encode {value} {
    return [encoding convertto utf-8 [Text $value]]
}

proc json::Text {value} {
    lassign $value kind content
    switch -exact -- $kind {
        z { return null }
        b { return [expr {$content ? "true" : "false"}] }
        n { return [Finite $content] }
        s { return [Quote $content] }
        a {
            set parts [lmap item $content { Text $item }]
            return "\[[join $parts ,]\]"
        }
        o {
            set parts {}
            dict for {key item} $content { lappend parts [Quote $key]:[Text $item] }
            return "{[join $parts ,]}"
        }
    }
    error "no tagged value"
}

proc json::Quote {text} {
    variable escapes
    # Most texts need no escape, and looking is much faster than mapping.
    if {[regexp {[\"\\\u0000-\u001f]} $text]} { set text [string map $escapes $text] }
    return "\"$text\""
}

# A number may have come in as text such as 1e999, and doubles of Tcl may be Inf.
proc json::Finite {number} {
    if {[catch {expr {abs(double($number))}} size] || $size > 1.7976931348623157e308
            || ![regexp {^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?$} $number]} {
        throw {JSON unsendable} "no number of JSON"
    }
    return $number
}
