//! A treemap as an SVG picture: areas are bytes. Everything that belongs together lies in one rectangle with a heading;
//! rectangles are as near to squares as they get (Bruls, Huizing, van Wijk: "Squarified Treemaps", 2000).
//!
//! The picture needs no other file and no script. Names that do not fit are left out; pointing at a rectangle shows them.

use std::fmt::Write as _;

/// Something with an area.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tile {
    /// What is written on it.
    pub name: String,
    /// What is shown when it is pointed at.
    pub title: String,
    /// Its area, when nothing is inside.
    pub bytes: u64,
    /// What is inside.
    pub inside: Vec<Tile>,
}

/// A place on the picture, in pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Area {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
}

const WIDTH: f64 = 1280.0;
const HEIGHT: f64 = 800.0;
/// Above the map: what it shows.
const CAPTION: f64 = 34.0;
/// Above the tiles of a group: its name.
const HEADING: f64 = 18.0;
/// Between the edge of a group and its tiles.
const MARGIN: f64 = 2.0;
/// Width of a character of the font at 12 pixels, and a little more.
const CHARACTER: f64 = 6.8;
/// Smaller tiles are not drawn: nobody could see or point at them.
const SMALLEST: f64 = 1.0;
/// Hues of the groups, in degrees: far from each other for neighbours.
const HUES: [u32; 8] = [210, 30, 140, 330, 265, 55, 180, 0];

impl Tile {
    /// A tile with nothing inside.
    pub fn leaf(name: impl Into<String>, title: impl Into<String>, bytes: u64) -> Self {
        Self {
            name: name.into(),
            title: title.into(),
            bytes,
            inside: Vec::new(),
        }
    }

    fn total(&self) -> u64 {
        match self.inside.as_slice() {
            [] => self.bytes,
            inside => inside.iter().map(Self::total).sum(),
        }
    }
}

/// The picture of groups of tiles.
pub fn svg(caption: &str, groups: &[Tile]) -> String {
    let mut picture = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
         font-family=\"DejaVu Sans, Verdana, sans-serif\" font-size=\"11\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\n\
         <text x=\"8\" y=\"22\" font-size=\"15\" fill=\"#1a1a1a\">{}</text>\n",
        escaped(caption)
    );
    let whole = Area {
        x: 0.0,
        y: CAPTION,
        width: WIDTH,
        height: HEIGHT - CAPTION,
    };
    for (number, (group, area)) in laid_out(groups, whole).into_iter().enumerate() {
        draw_group(&mut picture, group, area, HUES[number % HUES.len()]);
    }
    picture.push_str("</svg>\n");
    picture
}

fn draw_group(picture: &mut String, group: &Tile, area: Area, hue: u32) {
    if group.inside.is_empty() {
        return draw(picture, group, area, hue, 78);
    }
    draw(picture, &Tile::leaf("", &group.title, 0), area, hue, 90);
    let headed = area.height > 2.0 * HEADING && area.width > 4.0 * CHARACTER;
    let top = if headed { HEADING } else { MARGIN };
    if headed {
        write_name(picture, &group.name, area, "font-weight=\"bold\" ");
    }
    let inner = Area {
        x: area.x + MARGIN,
        y: area.y + top,
        width: (area.width - 2.0 * MARGIN).max(0.0),
        height: (area.height - top - MARGIN).max(0.0),
    };
    for (tile, area) in laid_out(&group.inside, inner) {
        draw(picture, tile, area, hue, 74);
    }
}

/// A rectangle with a name, if there is room for it.
fn draw(picture: &mut String, tile: &Tile, area: Area, hue: u32, lightness: u32) {
    if area.width < SMALLEST || area.height < SMALLEST {
        return;
    }
    let Area { x, y, width, height } = area;
    // Writing to a text does not fail.
    let _ = writeln!(
        picture,
        "<g><title>{}</title><rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" \
         fill=\"hsl({hue},60%,{lightness}%)\" stroke=\"#ffffff\"/></g>",
        escaped(&tile.title)
    );
    write_name(picture, &tile.name, area, "");
}

/// The name, cut to what fits; nothing when that is too little to be understood.
fn write_name(picture: &mut String, name: &str, area: Area, style: &str) {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a few hundred at most"
    )]
    let room = ((area.width - 8.0).max(0.0) / CHARACTER) as usize;
    let length = name.chars().count();
    if area.height < HEADING || name.is_empty() || room < length.min(4) {
        return;
    }
    let mut shown: String = name.chars().take(room).collect();
    if length > room {
        shown.pop();
        shown.push('…');
    }
    let (x, y) = (area.x + 4.0, area.y + 13.0);
    // The rectangle below shows its title when the text is pointed at.
    let _ = writeln!(
        picture,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" {style}fill=\"#1a1a1a\" pointer-events=\"none\">{}</text>",
        escaped(&shown)
    );
}

/// Gives each tile an area in proportion to its bytes, the largest first.
fn laid_out(tiles: &[Tile], mut free: Area) -> Vec<(&Tile, Area)> {
    let mut left: Vec<(&Tile, f64)> = tiles.iter().map(|tile| (tile, as_float(tile.total()))).collect();
    left.retain(|(_, bytes)| *bytes > 0.0);
    left.sort_by(|left, right| right.1.total_cmp(&left.1).then_with(|| left.0.name.cmp(&right.0.name)));
    let total: f64 = left.iter().map(|(_, bytes)| bytes).sum();
    let scale = free.width * free.height / total.max(1.0);
    let mut left: &[(&Tile, f64)] = &left;
    let mut placed = Vec::new();
    while !left.is_empty() {
        let side = free.width.min(free.height);
        let mut count = 1;
        while count < left.len() && worst(&left[..=count], side, scale) <= worst(&left[..count], side, scale) {
            count += 1;
        }
        let (row, rest) = left.split_at(count);
        free = place(row, free, scale, &mut placed);
        left = rest;
    }
    placed
}

/// The worst proportion in a row along a side of this length.
fn worst(row: &[(&Tile, f64)], side: f64, scale: f64) -> f64 {
    let areas = row.iter().map(|(_, bytes)| bytes * scale);
    let sum: f64 = areas.clone().sum();
    let thickness = sum / side.max(f64::EPSILON);
    areas
        .map(|area| {
            let length = area / thickness.max(f64::EPSILON);
            (length / thickness).max(thickness / length)
        })
        .fold(0.0, f64::max)
}

/// Puts a row along the shorter side, and returns what is free then.
fn place<'t>(row: &[(&'t Tile, f64)], free: Area, scale: f64, placed: &mut Vec<(&'t Tile, Area)>) -> Area {
    let sum: f64 = row.iter().map(|(_, bytes)| bytes * scale).sum();
    let upright = free.width >= free.height;
    let side = if upright { free.height } else { free.width }.max(f64::EPSILON);
    let thickness = sum / side;
    let mut along = 0.0;
    for (tile, bytes) in row {
        let length = bytes * scale / thickness.max(f64::EPSILON);
        let area = match upright {
            true => Area {
                x: free.x,
                y: free.y + along,
                width: thickness,
                height: length,
            },
            false => Area {
                x: free.x + along,
                y: free.y,
                width: length,
                height: thickness,
            },
        };
        placed.push((tile, area));
        along += length;
    }
    match upright {
        true => Area {
            x: free.x + thickness,
            width: (free.width - thickness).max(0.0),
            ..free
        },
        false => Area {
            y: free.y + thickness,
            height: (free.height - thickness).max(0.0),
            ..free
        },
    }
}

/// Sizes of files are far below 2^53.
#[allow(clippy::cast_precision_loss, reason = "a pixel more or less")]
fn as_float(bytes: u64) -> f64 {
    bytes as f64
}

/// Text of XML 1.0; control characters, which it cannot have, are replaced.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push_str("&#10;"),
            control if control.is_control() => out.push('\u{fffd}'),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole() -> Area {
        Area {
            x: 0.0,
            y: 0.0,
            width: 600.0,
            height: 400.0,
        }
    }

    #[test]
    fn areas_are_in_proportion_and_do_not_overlap() {
        // The example of the paper.
        let tiles: Vec<Tile> = [6, 6, 4, 3, 2, 2, 1, 0]
            .map(|bytes| Tile::leaf(bytes.to_string(), "", bytes))
            .into();
        let placed = laid_out(&tiles, whole());
        assert_eq!(placed.len(), 7, "what has no bytes has no place");
        for (number, (tile, area)) in placed.iter().enumerate() {
            let expected = as_float(tile.bytes) * 10_000.0;
            assert!((area.width * area.height - expected).abs() < 1.0, "{tile:?} {area:?}");
            assert!(area.x >= 0.0 && area.x + area.width < 600.1 && area.y + area.height < 400.1);
            for (_, other) in &placed[..number] {
                let apart = |a: f64, length: f64, b: f64, other: f64| a + length <= b + 0.01 || b + other <= a + 0.01;
                assert!(
                    apart(area.x, area.width, other.x, other.width)
                        || apart(area.y, area.height, other.y, other.height)
                );
            }
        }
        let longest = placed
            .iter()
            .map(|(_, area)| (area.width / area.height).max(area.height / area.width));
        assert!(longest.fold(0.0, f64::max) < 3.0);
    }

    #[test]
    fn the_picture_is_xml_with_names_and_titles() {
        let group = Tile {
            name: "package a&b".into(),
            title: "package a&b\n3 files".into(),
            bytes: 0,
            inside: vec![
                Tile::leaf("bin/<tool>", "bin/<tool>: 900 bytes", 900),
                Tile::leaf(
                    "a name that is much too long for the little place that it has",
                    "long",
                    1,
                ),
            ],
        };
        let picture = svg("dev: 901 bytes", &[group, Tile::leaf("kernel", "kernel", 500)]);
        assert!(picture.contains("<title>package a&amp;b&#10;3 files</title>"));
        assert!(picture.contains(">bin/&lt;tool&gt;</text>") && picture.contains(">kernel</text>"));
        assert!(!picture.contains("a name that is much too long"));
        assert_eq!(picture.matches("<g>").count(), picture.matches("</g>").count());
        assert!(picture.starts_with("<svg") && picture.ends_with("</svg>\n"));
    }
}
