# methods.awk: methods.tsv as an SVG: a bar for each method's exact match, beside it what it costs.
BEGIN { FS = "\t" }
NR > 1 { name[++n] = $1; em[n] = $2; ppl[n] = $3; par[n] = $4; size[n] = $5; time[n] = $6 }
function thousands(x) { return x >= 1e6 ? sprintf("%.2f M", x / 1e6) : x >= 1e3 ? sprintf("%.1f k", x / 1e3) : x }
function text(x, y, class, s) { printf "<text x=\"%d\" y=\"%d\" class=\"%s\">%s</text>\n", x, y, class, s }
END {
    left = 120; width = 360; row = 26; top = 46
    printf "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"780\" height=\"%d\" role=\"img\" aria-label=\"exact match of each method\">\n", top + n * row + 30
    print "<style>text{font:13px sans-serif;fill:#222}.r{text-anchor:end}.h{font-weight:bold}.s{fill:#666}" \
        "@media(prefers-color-scheme:dark){svg{background:#111}text{fill:#ddd}.s{fill:#999}}</style>"
    text(left, 20, "h", "exact match on held-out rows, %")
    text(600, 20, "h r", "parameters"); text(685, 20, "h r", "perplexity"); text(765, 20, "h r", "time")
    for (i = 0; i <= 100; i += 25) {
        x = left + width * i / 100
        printf "<line x1=\"%d\" y1=\"%d\" x2=\"%d\" y2=\"%d\" stroke=\"#8884\"/>\n", x, top - 10, x, top + n * row - 4
        printf "<text x=\"%d\" y=\"%d\" class=\"s\" text-anchor=\"middle\">%d</text>\n", x, top + n * row + 14, i
    }
    for (i = 1; i <= n; i++) {
        y = top + (i - 1) * row
        text(left - 8, y + 9, "r", name[i])
        printf "<rect x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"16\" rx=\"2\" fill=\"%s\"/>\n", left, y - 4, width * em[i] / 100, i == 1 ? "#999" : "#3b78b8"
        text(left + width * em[i] / 100 + 5, y + 9, "", em[i])
        if (i > 1) { text(600, y + 9, "r", thousands(par[i])); text(765, y + 9, "r", time[i] " x") }
        text(685, y + 9, "r", ppl[i])
    }
    print "</svg>"
}
