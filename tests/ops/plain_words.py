"""Words that say no side: the commonest ones of six languages, and names of classes of data sets for segmentation."""

from __future__ import annotations

LANGUAGES = {
    "english": """
the be to of and a in that have i it for not on with he as you do at this but his by from they we say her she or an
will my one all would there their what so up out if about who get which go me when make can like time no just him
know take people into year your good some could them see other than then now look only come its over think also back
after use two how our work first well way even new want because any these give day most us is are was were where
thing things object objects image picture photo something someone color colour shape shown used find name person man
woman
    """,
    "german": """
der die das und in zu den ist nicht von sie ein mit dem sich des er es auf eine als auch im an so dass kann werden
aus wird bei einer um am sind noch wie einem hat einen war ich nur oder aber vor nach zur bis mehr durch man sein
was welche welcher welches wo wer dieser dieses ohne unter alle wenn wir mich ihr kein sehr hier ding sache bild
etwas gegen wieder farbe zwischen
    """,
    "french": """
le de la les et des en un une du est que qui dans il au pour pas par sur se ne ce plus avec sont son sa ses ou où
comme mais on tout nous vous leur elle été cette ces aux être avoir fait deux quel quelle quels quelles quoi sans
sous entre dont y lui si même peut peu très bien objet image personne chose moi toi je tu
    """,
    "spanish": """
el la de que y a en un ser se no haber por con su para como estar tener le lo todo pero más hacer o poder decir este
ir otro ese si me ya ver porque dar cuando él muy sin vez mucho saber qué sobre mi alguno mismo yo también hasta los
las del una es son al esta esto cuál cuáles dónde quién entre nada objeto imagen cosa persona uno dos desde está hay
tiene
    """,
    "portuguese": """
de a o que e do da em um para é com não uma os no se na por mais as dos como mas foi ao ele das tem à seu sua ou ser
quando muito há nos já está eu também só pelo pela até isso ela entre era depois sem mesmo aos ter seus quem nas me
esse eles estão você tinha foram essa num nem suas meu às minha qual quais onde coisa objeto imagem pessoa este esta
    """,
    "italian": """
il di e la che in un a per è non una si da del con sono le i al come dei più lo ma nel della gli o anche se alla
questo quale quali cosa chi dove ha delle ho ci mi tu io lui lei noi voi loro suo sua due oggetto immagine persona
tra fra su sul senza molto essere fare poi già quando quello dal dalla degli nella uno ogni altro
    """,
}
"""Their commonest words, apart by spaces."""

CLASSES = {
    "coco": """
person|bicycle|car|motorcycle|airplane|bus|train|truck|boat|traffic light|fire hydrant|stop sign|parking meter|
bench|bird|cat|dog|horse|sheep|cow|elephant|bear|zebra|giraffe|backpack|umbrella|handbag|tie|suitcase|frisbee|
skis|snowboard|sports ball|kite|baseball bat|baseball glove|skateboard|surfboard|tennis racket|bottle|
wine glass|cup|fork|knife|spoon|bowl|banana|apple|sandwich|orange|broccoli|carrot|hot dog|pizza|donut|cake|
chair|couch|potted plant|bed|dining table|toilet|tv|laptop|mouse|remote|keyboard|cell phone|microwave|oven|
toaster|sink|refrigerator|book|clock|vase|scissors|teddy bear|hair drier|toothbrush
    """,
    "camvid and cityscapes": """
Animal|Archway|Bicyclist|Bridge|Building|CartLuggagePram|Child|Column_Pole|Fence|LaneMkgsDriv|LaneMkgsNonDriv|
Misc_Text|MotorcycleScooter|OtherMoving|ParkingBlock|Pedestrian|Road|RoadShoulder|Sidewalk|SignSymbol|Sky|
SUVPickupTruck|TrafficCone|TrafficLight|Train|Tree|Truck_Bus|Tunnel|VegetationMisc|Void|Wall|Pole|Pavement|Car|
unlabelled|unlabeled|ego vehicle|rectification border|out of roi|static|dynamic|ground|parking|rail track|
guard rail|bridge|polegroup|vegetation|terrain|rider|caravan|trailer|license plate
    """,
    "ade20k": """
wall|building|sky|floor|tree|ceiling|road|bed|windowpane|grass|cabinet|sidewalk|person|earth|door|table|
mountain|plant|curtain|chair|car|water|painting|sofa|shelf|house|sea|mirror|rug|field|armchair|seat|fence|desk|
rock|wardrobe|lamp|bathtub|railing|cushion|base|box|column|signboard|chest of drawers|counter|sand|sink|
skyscraper|fireplace|refrigerator|grandstand|path|stairs|runway|case|pool table|pillow|screen door|stairway|
river|bridge|bookcase|blind|coffee table|toilet|flower|book|hill|bench|countertop|stove|palm|kitchen island|
computer|swivel chair|boat|bar|arcade machine|hovel|bus|towel|light|truck|tower|chandelier|awning|streetlight|
booth|television receiver|airplane|dirt track|apparel|pole|land|bannister|escalator|ottoman|bottle|buffet|
poster|stage|van|ship|fountain|conveyer belt|canopy|washer|plaything|swimming pool|stool|barrel|basket|
waterfall|tent|bag|minibike|cradle|oven|ball|food|step|tank|trade name|microwave|pot|animal|bicycle|lake|
dishwasher|screen|blanket|sculpture|hood|sconce|vase|traffic light|tray|ashcan|fan|pier|crt screen|plate|
monitor|bulletin board|shower|radiator|glass|clock|flag
    """,
    "medical": """
lesion|wound|tumour|tumor|liver|kidney|spleen|pancreas|stomach|bladder|heart|lung|aorta|esophagus|gallbladder|
adrenal gland|prostate|uterus|bone|rib|spine|vertebra|femur|pelvis|skull|brain|white matter|grey matter|csf|
edema|oedema|necrosis|enhancing tumor|whole tumor|core|cyst|polyp|ulcer|nevus|melanoma|melanocyte|mole|vessel|
vein|artery|optic disc|optic cup|fovea|exudate|hemorrhage|microaneurysm|retina|cell|nucleus|nuclei|cytoplasm|
membrane|gland|stroma|epithelium|mitosis|instrument|forceps|scalpel|duodenum|colon|rectum|intestine|bowel|
thyroid|trachea|bronchus|nodule|granulation|slough|eschar|periwound|infection|burn|bandage|ruler|scar|
pressure ulcer|foot ulcer|fracture|implant|crown|tooth|caries|enamel|dentin|pulp|gum|tongue|lymph node|muscle|
fat|tendon|nerve|cartilage|meniscus|ligament|levator|levator ani|laevis|portal vein|catheter|pleural effusion|
consolidation|ground glass|hippocampus|amygdala|thalamus|putamen|caudate|cerebellum|ventricle|myocardium|
placenta|fetus|levothyroxine|dextran
    """,
    "animals and food": """
prawn|shrimp|crab|lobster|fish|salmon|lion|tiger|leopard|wolf|fox|rabbit|deer|goat|pig|duck|goose|chicken|
turkey|pigeon|eagle|owl|parrot|penguin|lizard|snake|frog|turtle|whale|dolphin|shark|seal|ant|bee|butterfly|
spider|jellyfish|coral|squid|monkey|camel|kangaroo|bread|butter|cheese|milk|egg|meat|sausage|ham|bacon|tomato|
potato|onion|garlic|pepper|cucumber|lettuce|cabbage|corn|bean|pea|rice|pasta|noodle|soup|salad|sauce|jam|honey|
sugar|salt|oil|tea|coffee|juice|beer|wine|grape|lemon|lime|peach|pear|plum|cherry|strawberry|melon|watermelon|
mango|pineapple|nut|almond|chocolate|cookie|pie|ice cream|candy
    """,
    "others": """
background|aeroplane|bicycle|bird|boat|bottle|bus|car|cat|chair|cow|diningtable|dog|horse|motorbike|person|
pottedplant|sheep|sofa|train|tvmonitor|foreground|label|port|lava|prawn|laboratory|labrador|labor|labour|
labyrinth|Italian|italic|jam|link|levitation|levis|lever|level|orient|dexterity|dextrose|direction|director|
direct|destination|drone|droplet|derby|derrick|sagittal|sole|solar panel|solid|solution|majority|parembole|
stanchion|vase|vasa|oyster|estuary|balloon|ball|balcony|balance|cello|idaho|leather|lemon|leaf|legs|lens|sun|
desk|desert|dessert|dress|kimono|timber|barrette|barrel|barrier|barber|baton|battery|bath|bathroom|
zebra crossing|crosswalk|kart|kayak|kettle|lane|lane marking|pothole|crack|rust|corrosion|scratch|dent|defect|
weld|cloud|cloud shadow|snow|ice|smoke|fire|forest|crop|weed|soil|barren|cropland|cereal|wheat|maize|rice|
impervious surface|low vegetation|agriculture|settlement|shrub|lawn|roof|solar|container|hangar|helicopter|
harbor|harbour|helipad|roundabout|soccer field|track field|tennis court|storage tank|vehicle|small vehicle|
large vehicle|shirt|trousers|pants|skirt|shoe|sock|hat|coat|jacket|glove|scarf|belt|hair|face|skin|nose|mouth|
lip|eye|eyebrow|ear|neck|torso|arm|leg|hand|foot|head|tail|paw|wing|beak|lamp|ramp|light|night|fight|bright|
sight|height|weight|eight|freight|fright|copyright|playwright|wright|birthright|screwdriver|hammer|wrench|
pliers|saw|drill|nail|screw|bolt|gear|wheel|tire|tyre|engine|pump|valve|pipe|wire|cable|plug|socket|switch|
button|key|lock|door handle|window|mirror|brush|comb|soap|sponge|towel|bucket|broom|mop|vacuum|needle|thread|
cloth|paper|pen|pencil|marker|eraser|ruler|glue|tape|envelope|stamp|card|coin|wallet|purse|bag|box|basket|jar|
can|lid|pan|plate|tray|candle|match|lighter|phone|camera|headphones|speaker|radio|laptop|tablet|printer|router|
modem|charger|drum|guitar|piano|violin|flute|trumpet|bell|whistle|toy|doll|puzzle|dice|racket|net|goal|helmet|
tent|rope|ladder|anchor|sail|oar|report|airport|passport|sport|support|export|import|transport|portrait|porter|
airport terminal|leftover|easter egg|feast|yeast|beast|breast|least|northern|southern|cleft|theft|Portugal|
Levi's|lebanon|lavender|lavatory|rapid|pravda|praline|bolero|desktop|drip|droid|estate|orienteering|occident|
accident|coriander|oreo|horatio|sinus|single|sink hole|since|sincere|dorado|durable|dog house|doge|document|
batik|batman|battery pack|bat|idea|ideal|idaho potato|italy|Italy map|tractor|trail|thai|phaidon|osier|ostrich|
hostess|ghost|host|toast|coast|roast|oats|majestic|kreisel|kairos|dameson|dam|damage|zapato|vasculature|
vascular|portable|portal|portico|apple tree|lab|lab coat|labels|labium|lather|labrum|labeled region|unlabeled|
the lab|clé|aiguilles|balón|bal|ballon|sol|Uhr|Kreis|Kreisverkehr|dreptunghi|ساعت|سكين|שעון|лев|правда|
правильный ответ|часовня|dama|barata|batik|prawie|lew|oikein|parempi|ヘッドライト|헤드라이트|นาฬิกา|desinfektion
    """,
}
"""Names of classes, apart by bars."""
