"""How requests are put, in English and Italian: the rules that `llmft.reward.detection` weighs.

They are made of how the languages work and of what such requests are about, and hold no phrase of a data set.
"""

from __future__ import annotations

from typing import NamedTuple


class Rule(NamedTuple):
    kind: str
    weight: float  # of each different thing that the pattern finds
    pattern: str
    most: int = 1  # of them that count
    case: bool = False  # is the case of letters looked at


def _any(*words: str) -> str:
    return "(?:" + "|".join(" ".join(words).split()) + ")"


# A request is made at the beginning of a clause, or after words that ask.
ASKED = (
    r"(?:^|[.!?:;,…\"'(-]\s*|\b(?:please|kindly|you|me|and|now|then|also|just|instead|to you|you to|me to|is to|how to"
    r"|how (?:do|can|would|should) (?:i|you|we)|i (?:need|want|would like|have) to|i'd like to|let's|try to"
    r"|help me|help us|aiut(?:ami|i|ate|arci) a|per favore|puoi|potresti|devi|mi|e|poi|ora|adesso|devo|vorrei|voglio|come (?:si|posso|faccio a))\s+)"
)
MAKE = _any(
    "write implement code create build make develop design define fix debug refactor rewrite complete finish port",
    "convert translate optimi[sz]e generate produce give show add test document review explain extend program provide",
    "scriv(?:i|imi|ete|ere|ermi) implement(?:a|ami|are) cre(?:a|ami|are) costru(?:isci|iscimi|ire) svilupp(?:a|ami|are)",
    "realizz(?:a|ami|are) defin(?:isci|ire) corregg(?:i|imi|ere) debugg(?:a|are) rifattorizz(?:a|are) refattorizz(?:a|are)",
    "riscriv(?:i|imi|ere) complet(?:a|ami|are) fin(?:isci|ire) traduc(?:i|imi) tradurre convert(?:i|ire|imi)",
    "ottimizz(?:a|ami|are) gener(?:a|ami|are) d(?:ammi|ai) mostr(?:a|ami) aggiung(?:i|ere) test(?:a|are) spieg(?:a|ami)",
    "rename modify change rinomin(?:a|are) modific(?:a|are) cambi(?:a|are) progett(?:a|are) fornisc(?:i|imi) produc(?:i|imi) programm(?:a|are)(?=\\s)",
)
WANT = r"(?:i need|i want|i'd like|i would like|i'm looking for|give me|mi serv(?:e|ono)|serve|vorrei|voglio|ho bisogno di)"
UP_TO = r"(?:\s+[\w'+#.&-]+){0,4}?\s+(?:\w{1,5}')?"  # a few words between verb and noun

# Of programming and of hardly anything else.
CODE_NOUN = _any(
    "functions? subroutines? algorithms? regex(?:es|p)? decorators? iterators? unit[-\\s]tests? parsers? compilers?",
    "subclass(?:es)? constructors? getters? lambdas? one-liners? snippets? quer(?:y|ies) web\\s?apps? linked\\slists?",
    "binary\\s(?:search\\s)?trees? hash\\s?(?:map|table)s? source\\scode pseudo-?code for\\sloops? while\\sloops?",
    "funzion[ei] algoritm[oi] espression[ei]\\sregolar[ei] decorator[ei] iterator[ei] script dockerfile",
    "test\\sunitari[oi]? list[ae]\\sconcatenat[ae] alber[oi]\\sbinar[io] tabell[ae]\\shash ciclo\\sfor ciclo\\swhile",
    "web\\s?(?:page|site)s? apps? applications? simulations? bots? applicazion[ei] sit[oi]\\sweb pagin[ae]\\sweb simulazion[ei]",
    "codice\\ssorgente pseudocodice stored\\sprocedures? api\\srest rest\\sapi endpoints? web\\sserver",
)
# Of programming and of other things too: programmes, classes, dress codes.
MAYBE_NOUN = _any(
    "programs? classes class methods? scripts? code macros? modules? components? procedures? loops? stacks? queues?",
    "caches? libraries library tests? bots? stubs? command[-\\s]line interfaces? types? annotations? docstrings?",
    "variables? variabil[ei] programm[ai] class[ei] metod[oi] codice modul[oi] component[ei] procedur[ae] cicl[oi] pil[ae] cod[ae] libreri[ae]",
    "generator[ei]? interfacci[ae] tipi puntator[ei]",
)
SPECIFIED = (  # what is said of a program, and not of a programme
    r"(?:\s+(?:that|which|to|whose|in|with|for|called|named|using|che|in|chiamat[oa]|ricorsiv[oa]|dat[oaie]"
    r"|con\s+i\s+metodi|per\s+\w+(?:are|ere|ire))\b|\s*[`\"(:,.]?\s*$|\s+[`\w]+\()"
)

LANGUAGES = (
    r"(?:\b(?:javascript|typescript|kotlin|haskell|php|mysql|postgres(?:ql)?|sqlite|html5?|css|bash|powershell|numpy"
    r"|pandas|django|flask|fastapi|react|vue\.?js|node\.?js|jquery|pytest|junit|vba|matlab|fortran|cobol|pytorch"
    r"|sql|github|dockerfile|stdin|stdout)\b|\bc(?:\+\+|#)|\bobjective-c\b|\.(?:py|js|cpp|java|sh)\b)"
)
# Names of other things too: a snake, an island, what iron does, two girls.
LIKELY_LANGUAGE = r"(?:[Pp]ython\s?[23]?|[Jj]ava|[Gg]olang|[Pp]erl|[Ll]ua)"
MAYBE_LANGUAGE = rf"(?:{LIKELY_LANGUAGE}|[Rr]ust|Go|[Ss]wift|[Rr]uby|[Ss]cala|Julia|C|R)"

TERMS = _any(
    "arrays? strings? integers? booleans? tuples? dictionar(?:y|ies) dicts? null pointers? recursi(?:on|ve|vely)",
    "compiler? runtime exceptions? stack\\strace syntax parameters? substrings? palindromes? lists?\\sof\\s\\w+ sublists?",
    "nested\\slists? elements? indices index json csv xml yaml database variables? iterat(?:e|es|ing|ion) o\\(n\\)",
    "in-?place output input return(?:s|ed)? argv sort(?:ed|s) files? bugs? compil(?:e|es|ing|ation)\\serrors?",
    "string[ahe]e? array inter[oi] ricorsiv[oaie] ricorsione compilazione eccezion[ei] sintassi restituisc(?:a|e|ono)",
    "element[oi] indic[ei] list[ae]\\sdi\\s\\w+ stamp(?:a|are|i) vettor[ei] parametr[oi] variabil[ei] file dizionar(?:io|i)",
    "threads? terminale? l'utente the\\suser app(?:licazion[ei]|lications?)? http web pagine? pages? clic[ck] simulat(?:e|ion)",
    "simula(?:zione)? commands? director(?:y|ies) cartella comand[oi] generator[ei]? variabil[ei] function[si]? funzion[ei] class",
    "methods? metod[oi] class[ei] branch(?:es)? commit frammento snippet modific(?:a|are) 1000\\stimes 1000\\svolte",
    "algorithms? algoritm[oi] endpoints?",
    "sottostring[ah]e? palindrom[oaie] booleano ciclo debug bug",
)

# Words of the trade: one of them in a question makes it one about programs.
STRONG_TERMS = _any(
    "recursion stack\\straces? compilers? debug(?:ger|ging)? regex(?:es|p)? lambdas? booleans? segmentation\\sfault",
    "list\\scomprehension linked\\slist hash\\s?(?:map|table) unit\\stests? (?:re)?implement(?:a|ami|are)? refactor",
    "gestione\\sdegli\\serrori gestione\\sdelle\\seccezioni my\\squery mia\\squery infinite\\sloop loop\\sinfinito ciclo\\sfor ricorsione ricorsiv[ao] stringhe sub-?arrays? test\\sunitari tuples? tupl[ae]",
    "dicts? git json csv xml yaml sub-?strings? thread-?safe multithreading numpy selenium relational\\sdatabase",
    "while\\sloop for\\sloop vectori[sz]e (?:static|instance|class|abstract|private)\\s(?:methods?|class(?:es)?|fields?) constructor docstring",
    "(?:metod[oi]|class[ei])\\s(?:static[oi]|d'istanza|astratt[oaie]|privat[oi]) costruttore database\\srelazional[ei] parse[rd]? log\\sfile",
    "lists?\\sof\\s(?:dict\\w*|lists|tuples|strings|objects|integers) list[ae]\\sdi\\s(?:dizionari|liste|tuple|oggetti|interi)",
    "return\\s(?:-1|true|false|null|none) restituisc[ie]\\s(?:-1|true|false|null|none) booleano puntator[ei] type\\shints?",
    "command\\sline riga\\sdi\\scomando for\\sthe\\sterminal per\\sil\\sterminale (?:excel|spreadsheet)\\sformula bubble\\ssort ordinamento\\sa\\sbolle",
    "sort(?:ing)?\\salgorithms? error\\shandling stdin stdout",
    "(?:sorted|integer|nested)\\sarrays? array\\s(?:of|di|ordinat[oi]) programmin[oi] source\\sfile snippet",
    "(?:take|read|get|prendi|leggi)\\w*\\s(?:in\\s|as\\s|the\\s|an?\\s)?input",
)

NUMBER_WORD = _any(
    "two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen",
    "nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million dozens? twice half thrice",
    "third quarter due tre quattro cinque sei sette otto nove dieci undici dodici tredici quattordici quindici venti",
    "trenta quaranta cinquanta sessanta settanta ottanta novanta cento mille dozzin[ae] metà doppio triplo diciotto",
)
NUMBER = rf"(?:\d[\d.,]*|\b{NUMBER_WORD}\b)"

# A question, or a request, for a quantity.
ASKS = (
    r"(?:\bhow (?:many|much|long|far|old|tall|fast|big|large|heavy|wide|high|deep|thick|likely)\b"
    r"|\bwhat (?:percent(?:age)?|fraction|number|amount|time|distance|speed|score|grade|year)\b|\bat what (?:rate|speed|price)\b"
    r"|\b(?:what(?:'s| is| was| are| were| will be| would be)|find|calculate|compute|determine|estimate|figure out"
    r"|work out|tell me|report|give)\b[^.?!\n]{0,60}?\b(?:total|sum|difference|average|mean|median|profit|cost|price|number"
    r"|amount|percentage|ratio|probability|area|perimeter|volume|speed|rate|length|width|height|weight|age|revenue|score"
    r"|value|distance|time|ounces|pounds|dollars|hours|minutes|salary|capacity|size|temperature|income|bill|balance)\b"
    r"|(?<!ogni )\bquant[oaie]\b|\bqual è (?:il|la|lo|l')\s?(?:totale|somma|differenza|media|guadagno|costo|prezzo|numero"
    r"|percentuale|rapporto|probabilità|area|perimetro|volume|velocità|peso|altezza|lunghezza|età|incasso|valore|distanza"
    r"|tempo|resto|nuov\w+|su[oa])\b|\ba che (?:velocità|prezzo|distanza)\b|\bqual[ie] (?:sono|è)\b(?=\s*\?))"
)
QUESTION = r"\b(?:what|when|how|which|quale?|quando|come|che)\b[^?]*\?"
MEASURES = {"asks": ASKS, "number": NUMBER, "question": QUESTION}

RELATIONS = _any(
    "twice half thirds? quarters? double triple each every altogether total remaining left rest equally split shares?",
    "more\\sthan fewer less\\sthan as\\s(?:many|much) times percent dozens? spends? spent earns? earned sells? sold saves?",
    "saved pays? paid bought buys? costs? per\\s(?:hour|day|week|month|year|minute|mile|person|pound|gallon|dozen|item) average combined if between\\sthem both\\stogether",
    "doppio metà terz[oi] quart[oi] triplo ciascun[oa] ogni in\\stutto totale rimangono rimane restano resta resto",
    "in\\spiù in\\smeno parti\\suguali insieme volte dozzin[ae] spende spendono guadagna guadagnano vende vendono vendute",
    "risparmia paga pagano compra comprato costa costano media avanza al\\sgiorno all'ora a\\stesta percorre",
)
MATH_NOUN = _any(
    "equations? integrals? derivatives? polynomials? triangles? rectangles? square\\sroots? perimeter probability",
    "fractions? primes? divisible divisors? remainder coordinates? logarithms? matri(?:x|ces) quadratic multiples?",
    "radius diameter diagonals? angles? permutations? combinations? digits? roots? positive\\sintegers? real\\snumbers?",
    "hypotenuse circumference factorial sequence theorem inequalit(?:y|ies) odd even sums? differences? cube[sd]? cards",
    "equazion[ei] integral[ei] derivat[ae] polinomi(?:o)? triangol[oi] rettangol[oi] quadrat[oi] radic[ei] perimetro",
    "probabilità frazion[ei] prim[oi] divisibil[ei] divisor[ei] coordinate logaritm[oi] matric[ei] multipl[oi] raggio",
    "diametro diagonal[ei] angol[oi] permutazioni cifre numer[oi] fattoriale successione teorema dispari pari somma",
    "differenza cubo area volume lato base altezza retta dadi? mazzo sistema soluzion[ei] percentuale",
)
CALCULATE = _any(
    "solve calculate compute evaluate simplify factor(?:i[sz]e)? differentiate integrate prove find determine expand",
    "express convert write rewrite add subtract multiply divide let show risolvi calcola semplifica scomponi deriva integra dimostra",
    "trova determina esprimi converti somma sottrai moltiplica dividi scrivi sia",
)
UNIT = _any(
    "seconds minutes hours days weeks months cents inches feet yards miles met(?:er|re)s? kilomet(?:er|re)s? km cm mm",
    "m kg g grams kilograms ounces pounds lit(?:er|re)s? gallons ml fahrenheit celsius degrees",
    "secondi minuti ore giorni settimane mesi centesimi metr[oi] chilometr[oi] grammi litr[oi] millilitri gradi",
)
FORMULA = (
    r"(?:\$[^$\n]*[\\^_=+<>a-z{}()-][^$\n]*\$|\\(?:frac|sqrt|sum|int|cdot|times|le|ge|pi|left|begin|boxed|binom|angle)\b"
    r"|\b\d*[a-z]\s*(?:\^|\*\*)\s*\d|(?<![\w.])\d*[a-z]\s*[-+=]\s*\d*[a-z]?\d*\b(?!\w)|\b\d+(?:[.,]\d+)?\s*[-+*/×÷x=]\s+\d"
    r"|\b[a-z]\([a-z]\)\s*(?:=|/)|\bsin\(|\bcos\(|\blog\(|\b\d+\s*%\s*(?:of|di|del)\s+\d|\b(?:of|di)\s+\d+\s*%)"
)

WRITING = _any(
    "poem haiku letter speech story tale toast e-?mail essay song lyrics joke list schedule plan itinerary recipe apology",
    "apologies article review quiz biography summary menu playlist caption message invitation slogan description note",
    "morning\\sroutine logo party trip character post card blog tweet dialogue proverb sentence paragraph",
    "poesia lettera discorso storia favola brindisi mail tema canzone barzelletta lista piano itinerario ricetta scuse",
    "articolo recensione quiz biografia riassunto menù menu scaletta messaggio invito slogan descrizione festa viaggio",
    "personaggio proverbio frase paragrafo routine programma\\sdi\\s\\w+ racconto dialogo idea compleanno gita",
)
ADVICE = _any(
    "suggest recommend advi[cs]e tips ideas? should\\s(?:i|we|my) what\\sdo\\si worth favou?rite best better good\\sfor",
    "pros\\sand\\scons opinion do\\syou\\sthink would\\syou what\\swould",
    "consigli(?:a|ami|o)? suggerisc(?:i|imi) suggerimenti proponi(?:mi)? vale\\sla\\spena secondo\\ste migliore meglio",
    "mi\\sconviene cosa\\sposso devo dovrei tu\\scosa che\\sfaccio come\\sfaccio preferit[oaie] vantaggi",
)
EXPLAIN = (
    r"\A\W*(?:who|whose|when|where|why|which|was|were|is|are|do|does|did|can|explain|tell|describe|translate"
    r"|summari[sz]e|rephrase|compare|hi|hello|thanks|recommend|suggest|plan|chi|dove|perché|quando|cosa|che cosa|che"
    r"|quale|quali|spiega\w*|racconta\w*|descrivi|traduci|riassumi|riformula|confronta|ciao|grazie|consigliami|come"
    r"|organizza|inventa|com'è|è)\b"
)
FEELING = (
    r"\b(?:i feel|i am|i'm|i can't|i cannot|i don't|makes me|my (?:boss|friend|husband|wife|mother|father|daughter|sons?"
    r"|dog|cat|boyfriend|girlfriend)|mi sento|sono (?:stanc|trist|sol|felic|preoccupat)\w+|non riesco|mi[oae]i? "
    r"(?:capo|amic[oa]|marito|moglie|madre|padre|figli[oae]?|cane|gatto)|ho paura|mi annoio)\b"
)

# A line that begins a function, a class or a file of a program.
DEFINITION = (
    r"^\s*(?:(?:async )?def \w+\s*\(.*|class \w+\s*(?:\([^)]*\))?\s*[:{]\s*|#include\s*[<\"].*"
    r"|(?:public|private|static) [\w<>\[\] ]+\(.*|function \w+\s*\([^)]*\)\s*\{.*|fn \w+\(.*|func \w+\(.*)$"
)
STRUCTURE = (
    r"^\s*(?:def \w+\s*\(|class \w+\s*[:({]|(?:from \w[\w.]* )?import \w+|#include|public \w+|using namespace|package \w+"
    r"|@\w+|>>> |fn \w+\(|func \w+\(|(?:let|const|var) \w+ =|SELECT .+ FROM)"
    r"|\bdef \w+\(|\bfunction \w*\s*\([^)]*\)\s*\{|=>\s*\{?|\bconsole\.log|\bSystem\.out|\bprint\w?\s?[(\"]"
    r"|\bfor \w+ in [\w.()]+|\bwhile \(?\w+ [<>!=]=? |\blambda \w+\s*:|\breturn \w+ [-+*/] \w+|\w+\.\w+\([^)]*\)"
    r"|\bSELECT [^\n]+ FROM\b|\w+\+\+|\b\w+ = (?:\[|\{)"
)

RULES = (
    # A program, or part of one, is shown.
    Rule("coding", 3.0, r"```|~~~"),
    Rule("coding", 12.0, DEFINITION, case=True),
    Rule("coding", 3.0, STRUCTURE, most=2),
    Rule("coding", 3.0, r"\bO\(\w+(?:\^2| log \w)?\)", case=True),
    Rule("coding", 3.0, r"\b[A-Z][A-Za-z]*(?:Error|Exception)\b|\bcompil\w+ error|errore di compilazione", case=True),
    Rule("coding", 1.5, r"\b[a-z]+_[a-z_]+\b|\b[a-z]+[A-Z][a-z]+\w*\b|`[^`\n]+`|\b[a-z]{2,}\(\w*\)", most=2, case=True),
    # A program is asked for.
    Rule("coding", 4.0, rf"{ASKED}{MAKE}\b{UP_TO}{CODE_NOUN}\b"),
    Rule("coding", 4.0, rf"\b{WANT}{UP_TO}{CODE_NOUN}\b"),
    Rule("coding", 3.0, rf"{ASKED}{MAKE}\b{UP_TO}{MAYBE_NOUN}{SPECIFIED}"),
    Rule("coding", 3.0, rf"\b{WANT}{UP_TO}{MAYBE_NOUN}{SPECIFIED}"),
    Rule("coding", 1.5, rf"{ASKED}{MAKE}\b{UP_TO}{MAYBE_NOUN}\b"),
    Rule("coding", 2.0, r"\b(?:my|mio|il mio) (?:code|snippet|query|codice)\b|\b(?:this|these|following|below|quest[oa]|seguente)\s+(?:\w+\s+)?"
                        r"(?:code|snippet|function|method|script|program|loop|query|codice|frammento|funzione|metodo"
                        r"|programma|ciclo|script)\b|\b(?:function|method|class|code|funzione|metodo|classe|codice) (?:below|qui sotto)\b"),
    Rule("coding", 3.5, LANGUAGES),
    Rule("coding", 3.5, rf"\b(?:[Ii]n|[Uu]sing) {MAYBE_LANGUAGE}\b|\b(?:with|from|to|con|da|a) {LIKELY_LANGUAGE}\b", case=True),
    Rule("coding", 3.5, rf"\b{MAYBE_LANGUAGE} (?:function|program|code|script|class|method|library|module)\b", case=True),
    Rule("coding", 3.5, rf"\b(?:funzione|programma|codice|script|classe|metodo|libreria) {MAYBE_LANGUAGE}\b", case=True),
    Rule("coding", 3.5, rf"\b{STRONG_TERMS}\b", most=2),
    Rule("coding", 1.0, rf"\b{TERMS}\b", most=4),
    Rule("coding", 0.5, rf"\b{MAYBE_NOUN}\b", most=3),
    # Functions are offered.
    Rule("function_calling", 20.0, r'"(?:parameters|arguments|input_schema)"\s*:'),
    Rule("function_calling", 20.0, r"</?(?:tools?|tool_calls?|functions?|function_calls?)>"),
    Rule("function_calling", 2.0, r'"type"\s*:\s*"(?:object|dict|function|string|integer)"'),
    Rule("function_calling", 4.0,
         r"\b(?:access to|available|following|these|call|calls|use|invoke[sd]?|disposal|offered|disposizione|disponibili"
         r"|seguenti|quest[ie]|chiamare|usare|usa|invocare)\b(?:\W+\w+){0,5}?\W+(?:functions?|tools?|apis?|funzioni"
         r"|strumenti)\b|\b(?:functions|tools|apis|funzioni|strumenti)\b(?:\W+\w+){0,5}?\W+(?:available|disposal|call"
         r"|invoke[sd]?|called|used|disponibili|disposizione|chiamare|usare)\b"),
    Rule("function_calling", 20.0,
         r"^\s*(?:[-*•]|\d+[.)])\s*`?[A-Za-z_][\w.-]*\s*\([^()\n]*\)`?\s*(?:->\s*[\w\[\], ]+)?\s*[:–—-]+\s+\S"),
    # Mathematics.
    Rule("math", -1.0, r"\b(?:i|i'm|i've|my|me|we|we're|our|us|mio|mia|miei|mie|io|mi|noi|siamo|vogliamo|abbiamo)\b"),
    Rule("math", 3.0, FORMULA),
    Rule("math", 1.0, ASKS),
    Rule("math", 1.5, r"\bhow many\b[^.?!]{1,60}\bcan (?:be|we|you)\b|\bquant[ei]\b[^.?!]{1,60}\bsi possono\b"),
    Rule("math", 0.4, NUMBER, most=4),
    Rule("math", 0.6, rf"\b{RELATIONS}\b", most=4),
    Rule("math", 1.0, rf"\b{MATH_NOUN}\b", most=3),
    Rule("math", 1.5, rf"{ASKED}{CALCULATE}\b"),
    Rule("math", 1.5, rf"\bhow many {UNIT}\b|\bquant[ei] {UNIT}\b|{NUMBER}\s*{UNIT} (?:to|into|in) {UNIT}\b"),
    Rule("math", 1.0, r"\bquanto fa\b|\bwhat (?:is|are|do) \d"),
    # Conversation.
    Rule("chat", 1.5, rf"{ASKED}{MAKE}\b{UP_TO}{WRITING}\b"),
    Rule("chat", 1.2, rf"\b{ADVICE}\b", most=2),
    Rule("chat", 1.2, EXPLAIN),
    Rule("chat", 1.0, FEELING),
)  # fmt: skip
