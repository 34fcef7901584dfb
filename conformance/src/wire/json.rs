//! JSON (RFC 8259), read strictly and without recursion. Lone surrogates are read as U+FFFD; nothing else is forgiven.

use super::{Builder, DecodeError, EncodeError, Open, Value};
use duplex_vectors::Codec;

/// Decodes exactly one JSON text.
pub fn decode(bytes: &[u8]) -> Result<Value, DecodeError> {
    let text = std::str::from_utf8(bytes).map_err(|error| DecodeError { what: "not UTF-8", at: error.valid_up_to() })?;
    let mut reader = Reader { bytes: text.as_bytes(), text, at: 0 };
    let value = reader.value()?;
    reader.space();
    if reader.at == reader.bytes.len() { Ok(value) } else { reader.fail("more text behind the JSON value") }
}

struct Reader<'a> {
    bytes: &'a [u8],
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn fail<T>(&self, what: &'static str) -> Result<T, DecodeError> {
        Err(DecodeError { what, at: self.at })
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn value(&mut self) -> Result<Value, DecodeError> {
        let mut builder = Builder::default();
        loop {
            self.space();
            let mut done = match self.peek() {
                Some(b'[') => {
                    builder.push(Open::Array(Vec::new()), self.at)?;
                    self.at += 1;
                    self.space();
                    if self.peek() != Some(b']') {
                        continue;
                    }
                    self.at += 1;
                    builder.close()
                }
                Some(b'{') => {
                    builder.push(Open::Map(Vec::new(), None), self.at)?;
                    self.at += 1;
                    self.space();
                    if self.peek() != Some(b'}') {
                        self.key(&mut builder)?;
                        continue;
                    }
                    self.at += 1;
                    builder.close()
                }
                _ => Some(self.scalar()?),
            };
            // A value is complete: add it, and end every container that ends right behind it.
            while let Some(value) = done.take() {
                if let Some(whole) = builder.add(value) {
                    return Ok(whole);
                }
                self.space();
                let in_map = matches!(builder.open.last(), Some(Open::Map(..)));
                match self.peek() {
                    Some(b',') => {
                        self.at += 1;
                        if in_map {
                            self.space();
                            self.key(&mut builder)?;
                        }
                    }
                    Some(b'}') if in_map => {
                        self.at += 1;
                        done = builder.close();
                    }
                    Some(b']') if !in_map => {
                        self.at += 1;
                        done = builder.close();
                    }
                    Some(_) => return self.fail("a comma or the container's end is missing"),
                    None => return self.fail("the text ends inside a container"),
                }
            }
        }
    }

    fn key(&mut self, builder: &mut Builder) -> Result<(), DecodeError> {
        if self.peek() != Some(b'"') {
            return self.fail("a member name is missing");
        }
        let key = self.string()?;
        builder.add(Value::Str(key));
        self.space();
        if self.peek() != Some(b':') {
            return self.fail("a colon is missing");
        }
        self.at += 1;
        Ok(())
    }

    fn scalar(&mut self) -> Result<Value, DecodeError> {
        for (word, value) in [("null", Value::Null), ("true", Value::Bool(true)), ("false", Value::Bool(false))] {
            if self.bytes[self.at..].starts_with(word.as_bytes()) {
                self.at += word.len();
                return Ok(value);
            }
        }
        match self.peek() {
            Some(b'"') => self.string().map(Value::Str),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(_) => self.fail("no JSON value starts like this"),
            None => self.fail("the text ends where a value is due"),
        }
    }

    fn digits(&mut self) -> Result<(), DecodeError> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start { self.fail("a digit is missing") } else { Ok(()) }
    }

    fn number(&mut self) -> Result<Value, DecodeError> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') && matches!(self.bytes.get(self.at + 1), Some(b'0'..=b'9')) {
            return self.fail("a number has a leading zero");
        }
        self.digits()?;
        let mut integer = true;
        if self.peek() == Some(b'.') {
            integer = false;
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            integer = false;
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        let text = &self.text[start..self.at];
        if integer
            && text != "-0"
            && let Ok(number) = text.parse()
        {
            return Ok(Value::Int(number));
        }
        text.parse().map(Value::Float).or_else(|_| self.fail("not a number"))
    }

    fn string(&mut self) -> Result<String, DecodeError> {
        self.at += 1;
        let mut out = String::new();
        loop {
            let start = self.at;
            let plain = self.bytes[start..].iter().position(|byte| !is_plain(*byte));
            self.at = plain.map_or(self.bytes.len(), |plain| start + plain);
            out.push_str(&self.text[start..self.at]);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => {
                    self.at += 1;
                    out.push(self.escape()?);
                }
                Some(_) => return self.fail("a raw control character in a string"),
                None => return self.fail("the text ends inside a string"),
            }
        }
    }

    fn escape(&mut self) -> Result<char, DecodeError> {
        let Some(byte) = self.peek() else { return self.fail("the text ends inside a string") };
        self.at += 1;
        Ok(match byte {
            b'"' | b'\\' | b'/' => char::from(byte),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let unit = self.unit()?;
                if (0xd800..0xdc00).contains(&unit) && self.bytes[self.at..].starts_with(b"\\u") {
                    let before = self.at;
                    self.at += 2;
                    let low = self.unit()?;
                    if (0xdc00..0xe000).contains(&low) {
                        let code = 0x1_0000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
                        return Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
                    }
                    self.at = before;
                }
                char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER)
            }
            _ => return self.fail("an unknown escape in a string"),
        })
    }

    fn unit(&mut self) -> Result<u32, DecodeError> {
        let digits = self.bytes.get(self.at..self.at + 4).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        let Some(digits) = digits else { return self.fail("four hexadecimal digits are missing") };
        self.at += 4;
        Ok(digits.iter().fold(0, |unit, &digit| unit * 16 + char::from(digit).to_digit(16).unwrap_or(0)))
    }
}

/// Writes a value without white space.
pub fn encode(value: &Value, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let cannot = |what| Err(EncodeError { codec: Codec::Json, what });
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Int(number) => out.extend_from_slice(number.to_string().as_bytes()),
        // The debug form always has a fraction or an exponent, so that a float stays one.
        Value::Float(number) if number.is_finite() => out.extend_from_slice(format!("{number:?}").as_bytes()),
        Value::Float(_) => return cannot("a number that is not finite"),
        Value::Str(text) => string(text, out),
        Value::Bin(_) => return cannot("bin"),
        Value::Ext(..) => return cannot("an ext type"),
        Value::Array(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                encode(item, out)?;
            }
            out.push(b']');
        }
        Value::Map(pairs) => {
            out.push(b'{');
            for (index, (key, item)) in pairs.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                let Value::Str(key) = key else { return cannot("a key that is no string") };
                string(key, out);
                out.push(b':');
                encode(item, out)?;
            }
            out.push(b'}');
        }
        Value::Nest(depth) => {
            out.resize(out.len() + depth, b'[');
            out.resize(out.len() + depth, b']');
        }
    }
    Ok(())
}

fn string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    // Long texts are nearly all plain: they are copied in one piece between the bytes that are not.
    while let Some(plain) = rest.iter().position(|byte| !is_plain(*byte)) {
        out.extend_from_slice(&rest[..plain]);
        match rest[plain] {
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            byte @ (b'"' | b'\\') => out.extend_from_slice(&[b'\\', byte]),
            byte => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
        }
        rest = &rest[plain + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// Whether a byte of UTF-8 stands for itself in a JSON string.
fn is_plain(byte: u8) -> bool {
    byte != b'"' && byte != b'\\' && byte >= 0x20
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_rfc_allows() {
        for (text, value) in [
            (" [ ] ", Value::Array(vec![])),
            ("0", Value::Int(0)),
            ("-0", Value::Float(-0.0)),
            ("-12", Value::Int(-12)),
            ("0.5", Value::Float(0.5)),
            ("-0.5e1", Value::Float(-5.0)),
            ("1E2", Value::Float(100.0)),
            (r#""\u00e9\ud83d\ude00\/""#, Value::Str("é😀/".into())),
            (r#""\ud800x""#, Value::Str("\u{fffd}x".into())),
            (r#"{"a":1,"a":2}"#, Value::Map(vec![("a".into(), Value::Int(1)), ("a".into(), Value::Int(2))])),
        ] {
            assert_eq!(decode(text.as_bytes()), Ok(value), "{text}");
        }
    }

    #[test]
    fn refuses_what_the_rfc_does_not_allow() {
        for text in [
            "",
            " ",
            "nul",
            "01",
            "-01",
            "00",
            "-",
            "1.",
            ".5",
            "1e",
            "+1",
            "NaN",
            "[1,]",
            "[,1]",
            "[1 2]",
            "{\"a\"}",
            "{a:1}",
            "{\"a\":1,}",
            "\"\n\"",
            "\"\\x\"",
            "\"\\u12\"",
            "\"",
            "[",
            "{",
            "]",
            "{]",
            "[}",
            "1 2",
            "\u{feff}1",
            "{\"a\":1",
            "'a'",
            "{1:2}",
        ] {
            assert!(decode(text.as_bytes()).is_err(), "{text}");
        }
        assert!(decode(b"\"\xff\"").is_err());
    }
}
