package openrtb

import (
	"errors"
	"fmt"
	"html"
	"html/template"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"bidwell/rtb"
)

// maxTemplate is how much memory the markup of all products of a creative may
// take, in bytes.
const maxTemplate = 4 << 20

// The macros of a template:
//
//	{PRODUCT_TITLE} {PRODUCT_PRICE}  in the markup of a banner and in all texts
//	{PRODUCT_IMAGE}                  in the markup of a banner, or as the whole address of a picture
//	{PRODUCT_URL}                    in the markup of a banner: the address that counts a click and
//	                                 leads to the landing page of the product
//
// There are none about the person who sees the ad.
const (
	macroTitle = "{PRODUCT_TITLE}"
	macroPrice = "{PRODUCT_PRICE}"
	macroImage = "{PRODUCT_IMAGE}"
	macroURL   = "{PRODUCT_URL}"
)

var (
	productID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

	// anyMacro finds what somebody meant to be filled in, in whose form ever.
	anyMacro = regexp.MustCompile(`\{[\s{%]*[A-Za-z_][A-Za-z0-9_. -]*[\s%]*\}|%%[A-Za-z_]+%%|\[[A-Z][A-Z0-9]*_[A-Z0-9_]*\]`)
)

// compileTemplate makes the Ad of each product of c: the creative with the
// values of the product in the place of macros. All of it is made here, so
// that a bid only chooses.
//
// Values are put into texts and addresses before these are escaped as any
// other, for XML, for JSON or for an attribute. In the markup of a banner the
// place decides: package html/template reads it as a browser would, and
// escapes each value for the text, attribute, address, script or style sheet
// that it stands in.
func compileTemplate(c *rtb.Creative, noticeBase string) error {
	products := slices.Clone(c.Products) // other copies of the creative keep theirs
	if errs := checkProducts(c, products); len(errs) > 0 {
		return errors.Join(errs...)
	}
	literals := map[string][]byte{}
	memory, secure := 0, true
	for i := range products {
		p := &products[i]
		ad, err := fillAssets(c, p)
		if err != nil {
			return err
		}
		m := &maker{c: ad, base: noticeBase, literals: literals, product: p}
		if err := m.compile(); err != nil {
			if i > 0 { // what is wrong with the template is wrong with the first
				err = fmt.Errorf("products[%d]: %w", i, err)
			}
			return err
		}
		if memory += memoryOf(ad); memory > maxTemplate {
			return fmt.Errorf("products: the markup of the first %d of %d takes more than %d bytes: shorten the template or the list", i+1, len(products), maxTemplate)
		}
		secure = secure && ad.Secure
		p.Ad = ad
	}
	first := products[0].Ad
	c.Mime, c.MimeAll, c.Duration, c.Bitrate, c.BannerType, c.Linear = first.Mime, first.MimeAll, first.Duration, first.Bitrate, first.BannerType, first.Linear
	c.Products, c.Secure = products, secure
	return nil
}

// checkProducts reports everything that is wrong with the products themselves.
func checkProducts(c *rtb.Creative, products []rtb.Product) (errs []error) {
	if len(products) > rtb.MaxProducts {
		errs = append(errs, fmt.Errorf("products: %d, want at most %d", len(products), rtb.MaxProducts))
	}
	if c.Media == rtb.Banner && c.Assets.HTML == "" {
		errs = append(errs, errors.New("assets.html: missing; a banner with products is made of markup"))
	}
	uses := strings.Join(templateTexts(c), "\n")
	if !strings.Contains(uses, "{PRODUCT_") {
		errs = append(errs, errors.New("products: nothing of the creative has a macro of a product, such as "+macroTitle))
	}
	seen := map[string]bool{}
	for i := range products {
		p, at := &products[i], fmt.Sprintf("products[%d].", i)
		if !productID.MatchString(p.ID) {
			errs = append(errs, fmt.Errorf("%sid: %.70q: want up to 64 letters, digits, dots, dashes and underscores, the first no sign", at, p.ID))
		} else if seen[p.ID] {
			errs = append(errs, fmt.Errorf("%sid: %s is there twice", at, p.ID))
		}
		seen[p.ID] = true
		m := &maker{c: c}
		for _, text := range [...]struct{ field, text, macro string }{{"title", p.Title, macroTitle}, {"price", p.Price, macroPrice}, {"image", p.Image, macroImage}} {
			if text.text == "" && (text.field == "title" || strings.Contains(uses, text.macro)) {
				m.fail(at+text.field, "missing")
				continue
			}
			if found := anyMacro.FindString(text.text); found != "" {
				m.fail(at+text.field, fmt.Sprintf("contains the macro %.40q; a product has none", found))
				continue
			}
			m.text(at+text.field, text.text)
		}
		if p.Image != "" {
			m.address(at+"image", p.Image)
		}
		if p.URL != "" {
			if _, err := rtb.ParseLanding(p.URL); err != nil {
				m.errs = append(m.errs, fmt.Errorf("%surl: %w", at, err))
			}
		} else if c.ClickURL == "" {
			m.fail(at+"url", "missing; the creative has no click_url either")
		}
		errs = append(errs, m.errs...)
	}
	return errs
}

// templateTexts are all assets that may contain macros of products.
func templateTexts(c *rtb.Creative) []string {
	a := &c.Assets
	list := []string{a.HTML, a.Title, a.Body, a.Sponsor, a.CallTo, a.Rating, a.Price, a.Icon.URL, a.Main.URL}
	for i := range a.CompanionOf {
		list = append(list, a.CompanionOf[i].URL)
	}
	return list
}

// fillAssets is a copy of c with the product in all assets but the markup of a
// banner. What stands in the product is not looked at for macros again.
func fillAssets(c *rtb.Creative, p *rtb.Product) (*rtb.Creative, error) {
	ad := *c
	ad.Products, ad.Product = nil, p.ID
	if p.URL != "" {
		ad.ClickURL = p.URL
	}
	a := &ad.Assets
	a.CompanionOf = slices.Clone(a.CompanionOf)
	var errs []error
	for _, text := range [...]struct {
		field string
		value *string
	}{
		{"title", &a.Title}, {"body", &a.Body}, {"sponsor", &a.Sponsor}, {"call_to", &a.CallTo}, {"rating", &a.Rating}, {"price", &a.Price},
	} {
		for _, macro := range ownMacro.FindAllString(*text.value, -1) {
			switch macro {
			case macroTitle, macroPrice:
			case macroImage, macroURL:
				errs = append(errs, fmt.Errorf("assets.%s: %s has no place in a text", text.field, macro))
			default:
				errs = append(errs, fmt.Errorf("assets.%s: unknown macro %.40q", text.field, macro))
			}
		}
		*text.value = strings.NewReplacer(macroTitle, p.Title, macroPrice, p.Price).Replace(*text.value)
	}
	pictures := []*rtb.Picture{&a.Icon, &a.Main}
	for i := range a.CompanionOf {
		pictures = append(pictures, &a.CompanionOf[i])
	}
	for _, picture := range pictures {
		if picture.URL == macroImage { // a part of an address would not be one
			picture.URL = p.Image
		}
	}
	return &ad, errors.Join(errs...)
}

// productMacro puts a macro of the product into the markup of a banner, and
// reports whether it is one. The values come later: see filled.
func (m *maker) productMacro(out *strings.Builder, before, name string) bool {
	if m.product == nil {
		return false
	}
	switch name {
	case macroURL:
		out.WriteString(placed(before, m.clickBase()) + markToken)
	case macroTitle:
		out.WriteString(markOpen + ".Title" + markClose)
	case macroPrice:
		out.WriteString(markOpen + ".Price" + markClose)
	case macroImage:
		out.WriteString(markOpen + ".Image" + markClose)
	default:
		return false
	}
	return true
}

// refusedValue is what html/template writes where no value can be made safe,
// such as the name of an attribute that runs scripts.
const refusedValue = "ZgotmplZ"

// filled is markup with the values of the product in it. Comments are left
// out of it, as html/template does not keep them.
func (m *maker) filled(markup string) string {
	if !strings.Contains(markup, markOpen) {
		return markup
	}
	if strings.Contains(strings.ToLower(markup), "srcdoc") {
		// Its value is markup again, which nothing here escapes for.
		m.fail("assets.html", "has srcdoc, in which no product can be put safely")
		return ""
	}
	text, err := m.execute(markup)
	if err != nil {
		m.fail("assets.html", m.misplaced(err))
		return ""
	}
	if strings.Contains(markup, ".Image"+markClose) && !strings.HasPrefix(m.product.Image, "https:") {
		m.secure = false
	}
	switch {
	case strings.Contains(text, refusedValue):
		m.fail("assets.html", m.unsafe(markup))
	case strings.Count(text, "${") > strings.Count(markup, "${"):
		m.fail("assets.html", fmt.Sprintf(`makes "${" of product %s, which exchanges take for a macro`, m.product.ID))
	}
	return text
}

func (m *maker) execute(markup string) (string, error) {
	t, err := template.New("html").Delims(markOpen, markClose).Parse(markup)
	var out strings.Builder
	if err == nil {
		err = t.Execute(&out, m.product)
	}
	return out.String(), err
}

// unsafe says which value of the product cannot stand where its macro does: the
// one that is refused with plain words in the place of all others.
func (m *maker) unsafe(markup string) string {
	values := [...]struct{ macro, field, value string }{
		{macroTitle, ".Title", m.product.Title}, {macroPrice, ".Price", m.product.Price}, {macroImage, ".Image", m.product.Image},
	}
	for _, v := range values {
		alone := markup
		for _, other := range values {
			if other != v {
				alone = strings.ReplaceAll(alone, markOpen+other.field+markClose, "x")
			}
		}
		if text, err := m.execute(alone); err == nil && strings.Contains(text, refusedValue) {
			return fmt.Sprintf("%s of product %s, %.60q, is not safe where the macro stands", v.macro, m.product.ID, v.value)
		}
	}
	return fmt.Sprintf("has a macro where the value of product %s is not safe", m.product.ID)
}

var (
	bareValue = regexp.MustCompile(`^(".+") in unquoted attr: (".*")$`)
	bareMacro = regexp.MustCompile(`=\s*(\{(?:PRODUCT_URL|CLICK_TRACKER|CLICK_URL)\})`)
)

// misplaced says in our words what html/template has against the markup.
func (m *maker) misplaced(err error) string {
	var problem *template.Error
	if !errors.As(err, &problem) {
		return fmt.Sprintf("no product can be put in safely: %v", err)
	}
	if problem.ErrorCode == template.ErrEndContext {
		return "ends within a tag, an attribute, a script or a style sheet: a quote, a > or an end tag is missing"
	}
	bare := bareValue.FindStringSubmatch(problem.Description)
	if bare == nil {
		return "no product can be put in safely: " + problem.Description
	}
	value, _ := strconv.Unquote(bare[2]) // which is empty where it cannot be read
	for _, macro := range bareMacro.FindAllStringSubmatch(m.c.Assets.HTML, -1) {
		address := m.clickBase()
		if macro[1] == "{CLICK_URL}" {
			address = m.c.ClickURL
		}
		if strings.HasPrefix(html.UnescapeString(value), address) {
			return fmt.Sprintf("%s stands in an attribute without quotes: write \"%s\"", macro[1], macro[1])
		}
	}
	return fmt.Sprintf("an attribute without quotes contains %s: put its value into quotes, %.60q", bare[1], strings.Trim(value, marks))
}

// memoryOf is about how many bytes the answers of c take.
func memoryOf(c *rtb.Creative) (n int) {
	const overhead = 48 // of a piece
	add := func(pieces []rtb.Piece) {
		for i := range pieces {
			n += len(pieces[i].Literal) + overhead
		}
	}
	add(c.Answer)
	add(c.Viewable)
	for i := range c.Versions {
		add(c.Versions[i].Pieces)
	}
	for i := range c.Native {
		add(c.Native[i].JSON)
	}
	return n + len(c.Fixed) + len(c.FixedExt) + 1024 // the structs
}
