"""Draws positions.svg for the README: python3 client/pictures/draw.py

One dialogue under four strategies, to scale. Biases are drawn as the feeder's `sorted` sampler draws them: one uniform
number of 0..budget for each boundary that may skip, sorted.
"""

import random
from pathlib import Path

BLOCKS = [96, 262, 74, 318, 58, 392]  # tokens: instruction, response, three times
L = 8192                              # max_position
N = sum(BLOCKS)

WIDTH, LEFT, RIGHT, TOP, ROW = 1000, 200, 880, 92, 62
INSTRUCTION, RESPONSE = "#0072B2", "#E69F00"  # Okabe and Ito: told apart by colour-blind eyes, too
INK, QUIET, LINE, PAPER = "#1b1f24", "#57606a", "#d0d7de", "#ffffff"


def starts(boundaries, seed):
    """First position id of each block; `boundaries`: the blocks that may skip."""
    drawn = random.Random(seed)
    biases = sorted(drawn.randint(0, L - N) for _ in boundaries)
    bias, natural, found = 0, 0, []
    for block, tokens in enumerate(BLOCKS):
        if block in boundaries:
            bias = biases.pop(0)
        found.append(natural + bias)
        natural += tokens
    return found


def x(position):
    return LEFT + (RIGHT - LEFT) * position / L


def text(at_x, at_y, words, size=13, colour=INK, anchor="start", weight="normal"):
    return (f'<text x="{at_x:.1f}" y="{at_y:.1f}" font-size="{size}" fill="{colour}" text-anchor="{anchor}" '
            f'font-weight="{weight}">{words}</text>')


def row(at_y, name, note, first):
    out = [text(24, at_y + 1, name, weight="bold"), text(24, at_y + 18, note, 12, QUIET)]
    out.append(f'<line x1="{x(0)}" x2="{x(L)}" y1="{at_y + 10}" y2="{at_y + 10}" stroke="{LINE}" stroke-width="2"/>')
    for block, (start, tokens) in enumerate(zip(first, BLOCKS)):
        colour = RESPONSE if block % 2 else INSTRUCTION
        out.append(f'<rect x="{x(start):.1f}" y="{at_y - 4}" width="{x(tokens) - x(0):.1f}" height="28" rx="1.5" '
                   f'fill="{colour}"/>')
        if block == 0:
            continue
        end = first[block - 1] + BLOCKS[block - 1]
        if start - end > L / 30:
            middle = (x(end) + x(start)) / 2
            out.append(f'<path d="M{x(end):.1f},{at_y - 5} Q{middle:.1f},{at_y - 24} {x(start):.1f},{at_y - 5}" '
                       f'fill="none" stroke="{QUIET}" stroke-width="1.2" stroke-dasharray="3 2.5"/>')
            out.append(text(middle, at_y + 5, f"+{start - end:,}", 11, QUIET, "middle"))
    out.append(text(WIDTH - 24, at_y + 14, f"{first[-1] + BLOCKS[-1] - 1:,}", 14, INK, "end", "bold"))
    return out


def main():
    rows = [
        ("ordinary SFT", "strategy: none", starts([], 0)),
        ("skip_inner", "before each response", starts([1, 3, 5], 70)),
        ("skip_outer", "between turns", starts([2, 4], 3)),
        ("skip_all", "before each block", starts([1, 2, 3, 4, 5], 24)),
        ("skip_all, next epoch", "the same dialogue again", starts([1, 2, 3, 4, 5], 192)),
    ]
    height = TOP + ROW * len(rows) + 44
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif" role="img">',
        "<title>Position ids of one dialogue under four strategies</title>",
        "<desc>Ordinary fine-tuning puts a short dialogue at the first positions of the window. Skipping leaves the text "
        "as it is and moves its blocks apart, so that responses attend over distances up to the whole window.</desc>",
        f'<rect width="{WIDTH}" height="{height}" rx="8" fill="{PAPER}"/>',
        text(24, 32, f"One dialogue of {N:,} tokens, position ids to scale in a window of {L:,}", 16, INK, weight="bold"),
        f'<rect x="24" y="46" width="13" height="13" fill="{INSTRUCTION}"/>',
        text(43, 57, "instruction (context)", 13, QUIET),
        f'<rect x="188" y="46" width="13" height="13" fill="{RESPONSE}"/>',
        text(207, 57, "response (trained)", 13, QUIET),
        text(WIDTH - 24, 50, "last", 12, QUIET, "end"), text(WIDTH - 24, 64, "position id", 12, QUIET, "end"),
    ]
    for i, (name, note, first) in enumerate(rows):
        out += row(TOP + 14 + ROW * i, name, note, first)
    axis = TOP + ROW * len(rows) + 2
    for tick in range(0, L + 1, L // 4):
        out.append(f'<line x1="{x(tick)}" x2="{x(tick)}" y1="{axis}" y2="{axis + 6}" stroke="{QUIET}"/>')
        out.append(text(x(tick), axis + 21, f"{tick:,}", 12, QUIET, "middle"))
    out.append(f'<line x1="{x(0)}" x2="{x(L)}" y1="{axis}" y2="{axis}" stroke="{QUIET}"/>')
    out.append("</svg>")
    Path(__file__).with_name("positions.svg").write_text("\n".join(out) + "\n")


if __name__ == "__main__":
    main()
