package shop

import (
	"embed"
	"fmt"
	"html/template"
)

// A product is an article of the shop. Its name and its description are the
// messages "product.<sku>" and "product.<sku>.text".
type product struct {
	SKU   string
	Cents int           // price in euro cents
	Tint  string        // the class of the card's background
	Art   template.HTML // an SVG drawing
}

//go:embed art/*.svg
var artFiles embed.FS

var catalogue = []product{
	{SKU: "backpack", Cents: 12900, Tint: "sage"},
	{SKU: "cabin-case", Cents: 18900, Tint: "sky"},
	{SKU: "lantern", Cents: 4900, Tint: "dusk"},
	{SKU: "camp-mug", Cents: 1800, Tint: "sand"},
	{SKU: "tent", Cents: 24900, Tint: "sky"},
	{SKU: "compass", Cents: 3900, Tint: "rose"},
	{SKU: "notebook", Cents: 1600, Tint: "sage"},
	{SKU: "water-bottle", Cents: 2900, Tint: "sand"},
	{SKU: "camera", Cents: 15900, Tint: "rose"},
	{SKU: "umbrella", Cents: 3500, Tint: "dusk"},
	{SKU: "sun-hat", Cents: 4200, Tint: "sky"},
	{SKU: "trail-map", Cents: 1200, Tint: "sage"},
}

var productBySKU = map[string]*product{}

func init() {
	for i := range catalogue {
		p := &catalogue[i]
		svg, err := artFiles.ReadFile("art/" + p.SKU + ".svg")
		if err != nil {
			panic(fmt.Sprintf("shop: product %s has no drawing: %v", p.SKU, err))
		}
		p.Art = template.HTML(svg) //nolint:gosec // our own file
		productBySKU[p.SKU] = p
	}
}
