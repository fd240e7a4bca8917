//! What the sample app knows of its stores. The router hands over an id; the rest is the app's own business.

/// One of the example stores.
pub(super) struct Shop {
    /// `stores.id` as the router sends it.
    pub(super) id: &'static str,
    /// The label of its subdomain and its path.
    pub(super) label: &'static str,
    /// `stores.name`.
    pub(super) name: &'static str,
    /// What it says of itself.
    pub(super) motto: &'static str,
    /// What it sells.
    pub(super) products: [Product; 3],
}

/// Something to sell.
pub(super) struct Product {
    /// The last part of its address.
    pub(super) slug: &'static str,
    /// Its name on the shelf.
    pub(super) name: &'static str,
    /// A few words about it.
    pub(super) note: &'static str,
    /// Its price as shown.
    pub(super) price: &'static str,
    /// The drawing in `page.html` that stands for it.
    pub(super) icon: &'static str,
}

/// The stores of the example data.
pub(super) const SHOPS: [Shop; 2] = [
    Shop {
        id: "1",
        label: "store1",
        name: "Shop Alpha",
        motto: "Slow coffee, made with good tools.",
        products: [
            Product { slug: "cup", name: "Stoneware cup", note: "Holds a double", price: "€ 18", icon: "cup" },
            Product {
                slug: "kettle", name: "Pour-over kettle", note: "A steady spout", price: "€ 64", icon: "kettle"
            },
            Product { slug: "beans", name: "House blend", note: "Roasted on Mondays", price: "€ 12", icon: "beans" },
        ],
    },
    Shop {
        id: "2",
        label: "store2",
        name: "Shop Beta",
        motto: "Light gear for long weekends.",
        products: [
            Product { slug: "tent", name: "Ridge tent", note: "Sleeps two", price: "€ 240", icon: "tent" },
            Product {
                slug: "lantern",
                name: "Trail lantern",
                note: "Forty hours of light",
                price: "€ 35",
                icon: "lantern",
            },
            Product { slug: "pack", name: "Day pack", note: "Twenty-two litres", price: "€ 89", icon: "pack" },
        ],
    },
];

impl Shop {
    /// The store with this id.
    pub(super) fn find(id: &str) -> Option<&'static Self> {
        SHOPS.iter().find(|shop| shop.id == id)
    }
}
