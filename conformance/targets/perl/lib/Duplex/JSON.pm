package Duplex::JSON;

# The codec `json`: bytes of a frame to a message, and back.
#
# JSON::PP is not used, for three reasons. It takes UTF-16 for JSON and stops
# at a lone surrogate escape; it needs seconds for a frame of 1 MiB; and it
# cannot tell how large a member was on the wire, which the limit of `ext` is
# about. Perl 5.36 tells strings, numbers and booleans apart by itself.

use v5.36;
no warnings qw(experimental::builtin recursion);
use builtin qw(true false is_bool created_as_number);

use constant NAME => 'json';

my %ESCAPE   = ('"' => '"', '\\' => '\\', '/' => '/', b => "\b", f => "\f", n => "\n", r => "\r", t => "\t");
my %UNESCAPE = ("\b" => '\b', "\f" => '\f', "\n" => '\n', "\r" => '\r', "\t" => '\t', '"' => '\"', '\\' => '\\\\');

# A run of white space; every other token begins with one.
my $WS = qr/[ \t\r\n]*/;

# Gives the value, and for each member of the outermost map the number of
# bytes that its value has in the frame. Dies if the frame is no JSON, or
# nests deeper than $max_depth containers.
sub decode ($bytes, $max_depth) {
    my %sizes;
    pos($bytes) = 0;
    my $value = _value(\$bytes, $max_depth, \%sizes);
    $bytes =~ /\G$WS\z/gc or die "trailing bytes\n";
    return ($value, \%sizes);
}

sub _value ($text, $depth, $sizes = undef) {
    $$text =~ /\G$WS/gc;
    return _string($text) if $$text =~ /\G"/gc;
    return _map($text, $depth, $sizes) if $$text =~ /\G\{/gc;
    return _list($text, $depth) if $$text =~ /\G\[/gc;
    return true  if $$text =~ /\Gtrue/gc;
    return false if $$text =~ /\Gfalse/gc;
    return undef if $$text =~ /\Gnull/gc;
    return 0 + $1 if $$text =~ /\G(-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?)/gc;
    die 'no value at byte ' . pos($$text) . "\n";
}

sub _list ($text, $depth) {
    die "nested too deep\n" if $depth < 1;
    my @list;
    return \@list if $$text =~ /\G$WS\]/gc;
    while (1) {
        push @list, _value($text, $depth - 1);
        next if $$text =~ /\G$WS,/gc;
        return \@list if $$text =~ /\G$WS\]/gc;
        die "a list without its end\n";
    }
}

sub _map ($text, $depth, $sizes) {
    die "nested too deep\n" if $depth < 1;
    my %map;
    return \%map if $$text =~ /\G$WS\}/gc;
    while (1) {
        $$text =~ /\G$WS"/gc or die "a map without a key\n";
        my $key = _string($text);
        $$text =~ /\G$WS:$WS/gc or die "a key without a value\n";
        my $start = pos $$text;
        $map{$key} = _value($text, $depth - 1);    # the last of duplicate keys wins
        $sizes->{$key} = pos($$text) - $start if $sizes;
        next if $$text =~ /\G$WS,/gc;
        return \%map if $$text =~ /\G$WS\}/gc;
        die "a map without its end\n";
    }
}

# The rest of a string, behind its opening quotation mark.
sub _string ($text) {
    my $string = '';
    while (1) {
        if ($$text =~ /\G([^"\\\x00-\x1f]+)/gc) {
            my $run = $1;
            if ($run =~ /[^\x00-\x7f]/) {
                # Perl's own UTF-8 is wider than Unicode's: surrogates and
                # code points beyond U+10FFFF have to be refused apart.
                utf8::decode($run) && $run !~ /[\x{d800}-\x{dfff}]|[^\x{0}-\x{10ffff}]/
                    or die "no UTF-8\n";
            }
            $string .= $run;
        }
        elsif ($$text =~ /\G"/gc)                  { return $string }
        elsif ($$text =~ m{\G\\(["\\/bfnrt])}gc)   { $string .= $ESCAPE{$1} }
        elsif ($$text =~ /\G\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})/gc) {
            $string .= chr(0x10000 + ((hex($1) & 0x3ff) << 10) + (hex($2) & 0x3ff));
        }
        elsif ($$text =~ /\G\\u([0-9a-fA-F]{4})/gc) {
            my $code = hex $1;
            $string .= $code >= 0xd800 && $code <= 0xdfff ? "\x{fffd}" : chr $code;
        }
        else { die "a string without its end\n" }
    }
}

# The bytes of a value. Dies if it holds what JSON does not have.
sub encode ($value) {
    return 'null' if !defined $value;
    return $value ? 'true' : 'false' if is_bool($value);
    if (my $kind = ref $value) {
        return '[' . join(',', map { encode($_) } @$value) . ']' if $kind eq 'ARRAY';
        return '{' . join(',', map { _quote($_) . ':' . encode($value->{$_}) } sort keys %$value) . '}'
            if $kind eq 'HASH';
        die "a $kind cannot be encoded\n";
    }
    return _quote($value) if !created_as_number($value);
    return sprintf '%d', $value if $value == int $value && abs $value < 2**63;
    my $number = sprintf '%.15g', $value;
    $number = sprintf '%.17g', $value if $number != $value;
    $number =~ /\A-?[0-9]/ or die "$number cannot be encoded\n";    # infinities, NaN
    return $number;
}

sub _quote ($string) {
    $string =~ s/[\x{d800}-\x{dfff}]|[^\x{0}-\x{10ffff}]/\x{fffd}/g if $string =~ /[^\x00-\xff]/;
    utf8::encode($string);
    $string =~ s/(["\\\x00-\x1f\x7f])/$UNESCAPE{$1} \/\/ sprintf '\\u%04x', ord $1/ge;
    return qq("$string");
}

1;
