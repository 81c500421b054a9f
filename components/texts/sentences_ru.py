"""What the program says in English, in Russian; see `components.texts.sentences`."""

from collections.abc import Mapping

SENTENCES_RU = {
    # the message does not fit
    "This turn needs {n} tokens and the conversation already holds {n} of {n}; forget the oldest turns, or send less.":
        "Токенов сообщению нужно {0}, а в разговоре уже занято {1} из {2}; забудьте начало разговора или отправьте"
        " меньше.",
    "The turn needs {n} tokens behind {n} in the conversation and the model holds {n}: {cuts}.":
        "Токенов сообщению нужно {0}, в разговоре их уже {1}, а модель вмещает {2}: {3}.",
    "The turn needs {size} of memory and {size} are free: {cuts}.":
        "Сообщению нужно {0} памяти, а свободно {1}: {2}.",
    "The device ran out of memory: shorten the media, drop the oldest turns or clear the conversation.":
        "Устройству не хватило памяти: сократите звук или видео, забудьте начало разговора или нажмите «Новый"
        " разговор».",
    "Something went wrong inside the program: try again, and look into the server's log if it stays.":
        "В самой программе что-то пошло не так: попробуйте ещё раз, а если не поможет, загляните в журнал сервера.",
    # the model and its flags
    "No checkpoint is named; give a local folder or a hub id such as Qwen/Qwen2.5-Omni-3B.":
        "Модель не названа; укажите папку на диске или имя в хабе, например Qwen/Qwen2.5-Omni-3B.",
    "{} is a {} model; choose a Qwen2.5-Omni or Qwen3-Omni checkpoint such as Qwen/Qwen2.5-Omni-3B.":
        "{0} — модель вида {1}; выберите модель Qwen2.5-Omni или Qwen3-Omni, например Qwen/Qwen2.5-Omni-3B.",
    "{} does not fit this device's memory; choose a smaller checkpoint, --quantize int4 or --text-only.":
        "{0} не помещается в память этого устройства; выберите модель поменьше, --quantize int4 или --text-only.",
    "{} could not be fetched from the hub; check its name and the network, log in with `hf auth login` where it asks "
    "for that, or give a complete local folder.":
        "{0} не удалось скачать из хаба; проверьте имя и сеть, войдите через `hf auth login`, если хаб этого требует,"
        " или укажите полную папку на диске.",
    "{} cannot be loaded as a Qwen-Omni checkpoint ({}); give a complete local folder with safetensors weights (of "
    "Qwen2.5-Omni with spk_dict.pt, too), or a hub id such as Qwen/Qwen2.5-Omni-3B.":
        "{0} не загружается как модель Qwen-Omni ({1}); укажите полную папку с весами safetensors (для Qwen2.5-Omni ещё"
        " и с spk_dict.pt) или имя в хабе, например Qwen/Qwen2.5-Omni-3B.",
    "--device is {}; choose one of {}.": "Задано --device {0}; выберите одно из: {1}.",
    "--device is {} but this machine has none that PyTorch can use; choose --device cpu.":
        "Задано --device {0}, но такого, с чем умеет работать PyTorch, на этой машине нет; выберите --device cpu.",
    "--engine is {}; choose one of {}.": "Задано --engine {0}; выберите одно из: {1}.",
    "--engine graphs needs an NVIDIA GPU; choose --engine auto.":
        "Для --engine graphs нужна видеокарта NVIDIA; выберите --engine auto.",
    "--dtype is {}; choose one of auto, {}.": "Задано --dtype {0}; выберите одно из: auto, {1}.",
    "--attention is {}; choose one of {}.": "Задано --attention {0}; выберите одно из: {1}.",
    "--attention flash_attention_2 needs a working flash-attn package, an Ampere or newer GPU and a 16-bit --dtype; "
    "choose --attention auto.":
        "Для --attention flash_attention_2 нужны исправный пакет flash-attn, видеокарта Ampere или новее и 16-битный"
        " --dtype; выберите --attention auto.",
    "--quantize is {}; choose one of {}.": "Задано --quantize {0}; выберите одно из: {1}.",
    "--quantize int4 does not run on {}; choose --quantize int8.":
        "--quantize int4 не работает на {0}; выберите --quantize int8.",
    "--quantize int4 needs a bitsandbytes that works on this machine's {} ({}); choose --quantize int8.":
        "Для --quantize int4 нужен bitsandbytes, который работает на {0} этой машины ({1}); выберите --quantize int8.",
    "--quantize int4 needs bitsandbytes: pip install -r requirements-quantize.txt, or choose --quantize int8.":
        "Для --quantize int4 нужен bitsandbytes: pip install -r requirements-quantize.txt — или выберите"
        " --quantize int8.",
    "--quantize {} is not there for Qwen3-Omni, whose experts it does not know: leave it out, or choose a Qwen2.5-Omni "
    "checkpoint.":
        "--quantize {0} не умеет сжимать экспертов Qwen3-Omni: уберите этот флаг или выберите модель Qwen2.5-Omni.",
    "--voices is of no use with Qwen3-Omni, whose voices are part of its weights: leave it out, or choose a "
    "Qwen2.5-Omni checkpoint.":
        "С Qwen3-Omni от --voices нет толку, её голоса — часть весов: уберите этот флаг или выберите модель"
        " Qwen2.5-Omni.",
    "--voices is of no use with --text-only: leave one of them out.":
        "С --text-only от --voices нет толку: уберите один из этих флагов.",
    "{} has a speaker without a proper name: name each with 1 to {n} letters.":
        "{0}: у одного из голосов нет настоящего имени; дайте каждому имя длиной от 1 до {1} букв.",
    "{} has a speaker {}, which is there already: give it another name.":
        "{0}: голос {1} уже есть; дайте ему другое имя.",
    "{} is no file: give the path of one in the layout of spk_dict.pt.":
        "{0}: такого файла нет; укажите путь к файлу, устроенному как spk_dict.pt.",
    "{} has more than {n} MB, which no speaker takes: give another file.":
        "{0}: больше {1} МБ, столько не занимает ни один голос; укажите другой файл.",
    "{} holds more than plain tensors, or none: save the speakers with torch.save.":
        "{0}: внутри не только простые тензоры или их нет вовсе; сохраните голоса через torch.save.",
    "{} holds no speakers: it must be a dictionary of names, as spk_dict.pt is.":
        "{0}: голосов внутри нет; это должен быть словарь имён, как в spk_dict.pt.",
    "{} must have exactly {}.": "{0}: должно быть ровно это: {1}.",
    "{}: {} must be a tensor of floating point numbers.": "{0}: {1} должно быть тензором чисел с плавающей точкой.",
    "{}: {} has the shape {} and this checkpoint needs {}.":
        "{0}: у {1} форма {2}, а этой модели нужна {3}.",
    "{}: {} has values that are no numbers; make it again.":
        "{0}: в {1} есть значения, которые не числа; создайте заново.",
    "{}: bos_token must be a token of this checkpoint, from 0 to {n}.":
        "{0}: bos_token должен быть токеном этой модели, от 0 до {1}.",
    "The program is being closed: start it again.": "Программа закрывается: запустите её снова.",
    # a file
    "{} was not found; upload it again.": "{0} не удалось найти; загрузите файл ещё раз.",
    "{} cannot be opened; upload it again.": "{0} не открывается; загрузите файл ещё раз.",
    "{} is empty; record or export it again.": "{0} — пустой файл; запишите или сохраните его заново.",
    "{} has {n} MB and at most {n} MB can be sent; cut or compress it first.":
        "{0} занимает {1} МБ, а отправить можно не больше {2} МБ; сначала обрежьте или сожмите файл.",
    "{} is a folder; upload the files in it one by one.": "{0} — это папка; загрузите файлы из неё по одному.",
    "{} is not an ordinary file; upload {accepted}.": "{0} — не обычный файл; загрузите {1}.",
    "{} cannot be read, it is damaged or of an unknown kind; upload {accepted}.":
        "{0} не читается: файл повреждён или неизвестного вида; загрузите {1}.",
    "{} is a playlist that points to other files; upload the sound or the video itself.":
        "{0} — список воспроизведения, который указывает на другие файлы; загрузите сам звук или само видео.",
    "{} is a vector drawing; export it as PNG and upload that.":
        "{0} — векторный рисунок; сохраните его как PNG и загрузите.",
    "{} is a web page, not a media file; save the picture, sound or video itself.":
        "{0} — веб-страница, а не картинка, звук или видео; сохраните сам файл и загрузите его.",
    "{} is a text file; paste its text into the message instead.":
        "{0} — текстовый файл; лучше вставьте его текст в сообщение.",
    "{} is a {kind} and not a {kind}; choose another file.": "{0} — это {1}, а не {2}; выберите другой файл.",
    "{} holds no sound that can be decoded; save it as WAV or MP3 and upload that.":
        "В {0} нет звука, который можно прочитать; сохраните его как WAV или MP3 и загрузите.",
    "{} lasts less than {n} s, too short to be heard; record it again.":
        "{0} длится меньше {1} с: слишком коротко, чтобы услышать; запишите ещё раз.",
    "{} {lasts} and at most {n} s can be sent; cut it first.":
        "{0} {1}, а отправить можно не больше {2} с; сначала обрежьте запись.",
    "{} is a HEIC photo, which cannot be read here; save it as JPEG and upload that.":
        "{0} — фото HEIC, которое здесь не читается; сохраните его как JPEG и загрузите.",
    "{} is a damaged picture; save it again and upload that.":
        "{0} — повреждённая картинка; сохраните её заново и загрузите.",
    "{} is too large a picture for this machine; make it smaller first.":
        "{0} — слишком большая картинка для этой машины; сначала уменьшите её.",
    "{} has too many pixels; make it smaller first.": "В {0} слишком много пикселей; сначала уменьшите картинку.",
    "{} is a picture without pixels; save it again and upload that.":
        "{0} — картинка без пикселей; сохраните её заново и загрузите.",
    "{} has {n} x {n} pixels and at most {n} million can be sent; make it smaller first.":
        "В {0} {1} x {2} пикселей, а отправить можно не больше {3} млн; сначала уменьшите картинку.",
    "{subject} has {n} x {n} pixels, too long and narrow to be seen; crop it first.":
        "{0}: {1} x {2} пикселей, слишком длинно и узко, чтобы что-то увидеть; сначала обрежьте.",
    "{} has frames of {n} x {n} pixels and at most {n} million can be sent; make it smaller first.":
        "В {0} кадры по {1} x {2} пикселей, а отправить можно не больше {3} млн; сначала уменьшите видео.",
    "{} holds no picture that can be decoded; save it as MP4 (H.264) and upload that.":
        "В {0} нет кадров, которые можно прочитать; сохраните его как MP4 (H.264) и загрузите.",
    "A webcam frame is damaged; start the webcam again.": "Кадр с камеры повреждён; включите камеру заново.",
    "A webcam frame has {n} x {n} pixels; choose a smaller picture size of the webcam.":
        "В кадре с камеры {0} x {1} пикселей; выберите для камеры размер поменьше.",
    # the message
    "The message is empty; type something or add a picture, a sound or a video.":
        "Сообщение пустое; напишите что-нибудь или добавьте картинку, звук или видео.",
    "The text has {n} characters and at most {n} can be sent; shorten it or send it in several messages.":
        "Знаков в тексте: {0}, а отправить можно не больше {1}; сократите его или отправьте несколькими сообщениями.",
    "The message has {n} files and at most {n} can be sent; send the rest in the next one.":
        "Файлов в сообщении: {0}, а отправить можно не больше {1}; отправьте остальные в следующем.",
    "The files have {n} MB together and at most {n} MB can be sent; send some of them in the next message.":
        "Файлы вместе занимают {0} МБ, а отправить можно не больше {1} МБ; отправьте часть в следующем сообщении.",
    "The {kinds} last {n} s together and at most {n} s can be sent; send some of them in the next message.":
        "{0} вместе длятся {1} с, а отправить можно не больше {2} с; отправьте часть в следующем сообщении.",
    "At most {n} files can be sent at once and these are {n}; send fewer.":
        "Файлов за раз можно отправить не больше {0}, а здесь их {1}; отправьте меньше.",
    "The files have {n} MB and {n} MB can be sent at once; send fewer.":
        "Файлы занимают {0} МБ, а за раз можно отправить {1} МБ; отправьте меньше файлов.",
    "The file is not there any more: upload it again.": "Файла больше нет: загрузите его ещё раз.",
    "Only uploaded files can be opened: upload the file instead of giving its path.":
        "Открываются только загруженные файлы: загрузите файл, а не указывайте путь к нему.",
    "Only files can be sent: upload the files one by one instead of their folder.":
        "Отправить можно только файлы: загрузите их по одному, а не папкой.",
    # the settings
    "This checkpoint has no such voice: choose one of {}.":
        "У этой модели нет такого голоса: выберите один из этих: {0}.",
    "This checkpoint was loaded without speech: start the program without --text-only to hear voices.":
        "Модель загружена без речи: чтобы слышать голоса, запустите программу без --text-only.",
    "This model writes and does not speak: start one that has a Talker.":
        "Эта модель пишет, но не говорит: запустите такую, у которой есть Talker.",
    "The vocoder's steps must be from {n} to {n}: change them in the settings.":
        "Значение «Точки решателя» должно быть от {0} до {1}: измените его в настройках.",
    "The vocoder's guidance must be from 0 to {n}: change it in the settings.":
        "«Сила привязки» должна быть от 0 до {0}: измените её в настройках.",
    "The seed must be a whole number from 0 to {n}: change it in the settings.":
        "«Зерно» должно быть целым числом от 0 до {0}: измените его в настройках.",
    "The seed must be a whole number from 0 to {n}, or empty.":
        "«Зерно» должно быть целым числом от 0 до {0} или пустым: измените его в настройках.",
    "The {setting} of the {stage} is out of its range: change it in the settings.":
        "«{0}» в разделе «{1}» вне допустимых пределов: измените значение в настройках.",
    # the conversation
    "A reply is still being made: wait for its end or stop it, then {deed}.":
        "Ответ ещё не закончен: дождитесь конца или нажмите «Стоп», а потом {0}.",
    "{busy}: wait for its end or stop it, then send again.":
        "{0}: дождитесь конца или остановите, а потом отправьте ещё раз.",
    "This conversation has expired: reload the page to begin a new one.":
        "Этот разговор устарел: перезагрузите страницу, чтобы начать новый.",
    "The conversation was cleared while you spoke: say it again.":
        "Пока вы говорили, разговор был закрыт: скажите ещё раз.",
    "This conversation is damaged or gone: choose another one.":
        "Этот разговор повреждён или его уже нет: выберите другой.",
    "There is no such conversation any more: choose another one.": "Такого разговора больше нет: выберите другой.",
    "This conversation is open in another tab: go on there, or close that tab first.":
        "Этот разговор открыт в другой вкладке: продолжайте там или сначала закройте ту вкладку.",
    "A conversation needs a name: write one.": "Разговору нужно название: напишите его.",
    "This message is not in the conversation any more: write it again.":
        "Этого сообщения в разговоре больше нет: напишите его заново.",
    "This reply is not in the conversation any more: ask again.":
        "Этого ответа в разговоре больше нет: спросите ещё раз.",
    "This reply has no words: choose another one to be spoken.":
        "В этом ответе нет слов: выберите другой, чтобы его произнести.",
    "There is nothing to say: write a sentence first.": "Произносить нечего: сначала напишите фразу.",
    "The voice said nothing: choose another voice or seed.":
        "Голос ничего не сказал: выберите другой голос или другое зерно.",
    "The voice preview was stopped: try again.": "Образец голоса прерван: попробуйте ещё раз.",
    "The checkpoint made no sound for this voice: choose another one.":
        "У модели не получилось звука этим голосом: выберите другой.",
    "These takes are not in the conversation any more: compare the voices again.":
        "Этих дублей в разговоре больше нет: сравните голоса ещё раз.",
    # the server's disk
    "The server could not write to its data folder: free some disk space and try again.":
        "Сервер не смог записать в папку данных: освободите место на диске и попробуйте ещё раз.",
    "{} in the data folder cannot be used ({}): make it writable, or move it away to begin without the conversations "
    "in it.":
        "{0} в папке данных нельзя использовать ({1}): разрешите запись в этот файл или уберите его, чтобы начать без"
        " разговоров, которые в нём.",
    "{} in the data folder is damaged or of another version: move it away to begin without the conversations in it.":
        "{0} в папке данных повреждён или другой версии: уберите его, чтобы начать без разговоров, которые в нём.",
    "The conversation could not be kept on the server's disk ({}): it goes on, but will be gone when the program ends.":
        "Разговор не удалось сохранить на диске сервера ({0}): он продолжается, но исчезнет, когда программа"
        " закроется.",
    "The votes could not be read or kept on the server's disk ({}): what is heard is not touched.":
        "Оценки голосов не удалось прочитать или сохранить на диске сервера ({0}): на звук это не влияет.",
    # out and in again
    "There is nothing to export yet: say something first.": "Выгружать пока нечего: сначала скажите что-нибудь.",
    "The file is no conversation that this program exported, or it was changed: export it again.":
        "Этот файл — не разговор, который выгрузила эта программа, или его изменили: выгрузите разговор ещё раз.",
    "The conversation was exported by another version of this program ({}) and this one reads version {n}: export it "
    "again with this one.":
        "Разговор выгрузила другая версия этой программы ({0}), а эта читает версию {1}: выгрузите его ещё раз этой"
        " программой.",
    "The file is no zip that this program exported, or it is damaged: export it again.":
        "Этот файл — не zip, который выгрузила эта программа, или он повреждён: выгрузите разговор ещё раз.",
    "The zip has more than {n} files: send one that this program exported.":
        "Файлов в zip больше {0}: выберите такой, который выгрузила эта программа.",
    "The conversation in the zip is too long to be read: send one that this program exported.":
        "Разговор в zip слишком длинный, чтобы его прочитать: выберите такой, который выгрузила эта программа.",
    "The zip does not say what its files must be: export the conversation again.":
        "В zip не сказано, какими должны быть его файлы: выгрузите разговор ещё раз.",
    "{} has {n} MB and at most {n} MB can be taken in: start the program with larger limits.":
        "{0} занимает {1} МБ, а принять можно не больше {2} МБ: запустите программу с пределами побольше.",
    "{} in the zip is longer than it says: export the conversation again.":
        "{0} в zip длиннее, чем там указано: выгрузите разговор ещё раз.",
    "{} in the zip is not what was exported: export the conversation again.":
        "{0} в zip не такой, каким его выгрузили: выгрузите разговор ещё раз.",
}  # fmt: skip
WORDS_RU: Mapping[str, Mapping[str, str]] = {
    "cuts": {"{cut} or {cut}": "{0} или {1}", "{cut}": "{0}"},
    "cut": {
        "drop the oldest turn": "забудьте самый старый ход",
        "drop the {n} oldest turns": "забудьте начало разговора (ходов: {0})",
        "leave out the largest file": "уберите самый большой файл",
        "clear the conversation and send less at once": "нажмите «Новый разговор» и отправьте меньше за раз",
        "send less at once": "отправьте меньше за раз",
        "shorten the video to {n} s": "сократите видео до {0} с",
        "shorten the sound to {n} s": "сократите звук до {0} с",
        "shorten the text to {n} characters": "сократите текст (знаков не больше {0})",
    },
    "size": {"{n} GB": "{0} ГБ", "{n} MB": "{0} МБ"},
    "kind": {"picture": "картинка", "sound": "звук", "video": "видео"},
    "kinds": {"sounds": "Звукозаписи", "videos": "Видео"},
    "lasts": {"lasts {n} s": "длится {0} с", "is too long": "длится слишком долго"},
    "subject": {
        "The picture": "Картинка",
        "The camera's picture": "Кадр с камеры",
        '"{}"': '"{0}"',
    },
    "accepted": {
        "a picture (PNG, JPEG, WebP, GIF, BMP), a sound (WAV, MP3, FLAC, OGG, M4A) or a video (MP4, WebM, MOV)":
            "картинку (PNG, JPEG, WebP, GIF, BMP), звук (WAV, MP3, FLAC, OGG, M4A) или видео (MP4, WebM, MOV)",
    },
    "setting": {
        "temperature": "Температура",
        "top p": "Top-p",
        "top k": "Top-k",
        "repetition penalty": "Штраф за повторы",
        "maximum of new tokens": "Предел токенов",
    },
    "stage": {"text": "Thinker: слова", "speech": "Talker: речь"},
    "deed": {
        "export": "выгрузите разговор",
        "send it again": "отправьте ещё раз",
        "hear it again": "послушайте ещё раз",
        "hear a sentence": "послушайте свою фразу",
        "choose another take": "выберите другой дубль",
        "take turns back": "отмените ход",
        "choose another version": "выберите другой вариант",
        "drop turns": "забудьте начало разговора",
    },
    "busy": {"You are being listened to": "Вас сейчас слушают", "A reply is still being made": "Ответ ещё не закончен"},
}  # fmt: skip
